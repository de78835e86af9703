"""Random numbers by place: any number of any stream, computed directly, without a state.

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) for many counters
at once. NumPy's Philox is one stream to an object, which takes longer to make than all the numbers
that an image needs.
"""

import numpy as np

_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], np.uint32)
_LOW, _WORD = np.uint64(0xFFFFFFFF), np.uint64(32)


def uniforms(seed: int, streams: np.ndarray, substream: int, count: int) -> np.ndarray:
    """Uniform numbers in (0, 1), by (seed, stream, substream) and position.

    Args:
        seed: 64 bits.
        streams: (n,) integers of 64 bits.
        substream: 32 bits.
        count: how many of each stream.

    Returns:
        (n, count), float64 with 32 random bits.
    """
    streams = np.asarray(streams, np.uint64)
    blocks = -(-count // 4)
    counters = np.empty((len(streams), blocks, 4), np.uint32)
    counters[..., 0] = np.arange(blocks)
    counters[..., 1] = substream
    counters[..., 2] = (streams & _LOW)[:, None]
    counters[..., 3] = (streams >> _WORD)[:, None]
    key = np.array([seed & 0xFFFFFFFF, seed >> 32], np.uint32)
    words = philox4x32(counters, key).reshape(len(streams), -1)[:, :count]
    return (words + 0.5) * 2.0**-32


def philox4x32(counters: np.ndarray, key: np.ndarray) -> np.ndarray:
    """The random words (..., 4) of counters (..., 4) and a key (2,), all uint32."""
    words = counters.astype(np.uint32)
    for _ in range(10):
        products = words[..., ::2].astype(np.uint64) * _MULTIPLIERS
        high = (products >> _WORD).astype(np.uint32)[..., ::-1]
        low = products.astype(np.uint32)[..., ::-1]
        words = np.stack([high ^ words[..., 1::2] ^ key, low], axis=-1).reshape(words.shape)
        key = key + _WEYL
    return words
