"""The node that saves what was made of an object's colours as a table, `.cube`, for other programs."""

from pathlib import Path

from ..raiha_core.lut import global_lut, write_cube
from .compat import folder_paths, io
from .notes import show_notes
from .sockets import Look, LookSocket, require


class SaveLook(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Raiha_SaveLook",
            display_name="Save Look as .cube (Raiha)",
            category="Raiha",
            description="Writes the change of the object's colours as a table for grading programs, into "
            "ComfyUI's output folder. Only a change that is the same all over the object can be one; else it "
            "says why not.",
            search_aliases=["lut", "cube", "color lut", "3d lut", "grade", "export look"],
            is_output_node=True,
            inputs=[
                LookSocket.Input("look", tooltip="From Harmonize (Raiha)."),
                io.String.Input(
                    "filename_prefix",
                    default="raiha/look",
                    tooltip="Start of the file name; a part before / is a folder below the output folder.",
                ),
                io.Combo.Input(
                    "size",
                    options=["17", "33", "65"],
                    default="33",
                    tooltip="Colours a side of the table: 33 is what most programs expect, 65 is finer.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[io.String.Output("file", display_name="file", tooltip="Where the table lies.")],
        )

    @classmethod
    def execute(cls, look: object, filename_prefix: str, size: str) -> io.NodeOutput:
        asked = require(look, Look, "look")
        table = global_lut(asked.transform, int(size), asked.strength, asked.controls)
        folder, file, counter, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), 0, 0
        )
        # the host counts what is there by the stem, whatever its ending
        name = f"{file}_{counter:05}_.cube"
        write_cube(Path(folder, name), table, file)
        shown = f"{subfolder}/{name}" if subfolder else name
        return io.NodeOutput(shown, ui=show_notes(cls, [f"written to {shown} in the output folder"]))
