from solo_bayesncl.recipes.checks import fit_to_machine  # noqa: F401


def number_of_processes(cfg):
    return len(cfg.devices) * (cfg.get("num_nodes") or 1)
