"""The node that gives a clip of the input folder, or the one that comes with the pack."""

from ..raiha_core.video.reader import VIDEO_ENDINGS
from .compat import InputImpl, io
from .examples import choice_problem, chosen_file, file_choices

_CLIP = "clip"


class LoadClip(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_LoadClip",
            display_name="Load Clip (Raiha)",
            category="Raiha",
            description="A video of ComfyUI's input folder, or the pack's example. It stays in its file, "
            "and is read frame by frame by what comes after.",
            search_aliases=["load video", "clip", "open video", "mp4"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=file_choices(VIDEO_ENDINGS),
                    upload=io.UploadType.video,
                    image_folder=io.FolderType.input,
                    tooltip="A video of ComfyUI's input folder, or one of the pack's examples.",
                )
            ],
            outputs=[io.Video.Output("video", display_name="video", tooltip="For Harmonize Video.")],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return choice_problem(file, VIDEO_ENDINGS, _CLIP)

    @classmethod
    def fingerprint_inputs(cls, file: str | None = None) -> str:
        if file is None:
            return ""
        state = chosen_file(file, VIDEO_ENDINGS, _CLIP).stat()  # hashing a long clip would be felt
        return f"{state.st_size}-{state.st_mtime_ns}"

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(InputImpl.VideoFromFile(str(chosen_file(file, VIDEO_ENDINGS, _CLIP))))
