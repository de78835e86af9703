"""How do images get in? Transforms, loaders, single images, demo data sets, ImageNet-100."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "digits": ["make_digits"],
        "emoji": ["make_emoji"],
        "folder": ["Summary"],
        "glyphs": ["make_glyphs"],
        "imagenet100": ["make_imagenet100"],
        "own_images": ["make_own_images"],
        "images": ["ImageTransform", "read_image"],
        "transforms": ["evaluation_transform", "probe_transform"],
    },
)
