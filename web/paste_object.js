// The picture on Paste Object in which the object is dragged, scaled and turned; the widgets follow.
// It draws what the node showed at its last run, and says so before the first one.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const ANCHORS = {
  centre: [0.5, 0.5], "top left": [0, 0], top: [0.5, 0], "top right": [1, 0], left: [0, 0.5],
  right: [1, 0.5], "bottom left": [0, 1], bottom: [0.5, 1], "bottom right": [1, 1],
};
const HANDLE = 9; // pixels of the canvas
const STALK = 26; // between the object's box and the handle that turns it

class Stage {
  constructor(node) {
    this.node = node;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "raiha-stage";
    this.canvas.style.cssText = "width:100%;height:100%;display:block;object-fit:contain;touch-action:none;cursor:grab";
    this.canvas.width = 480;
    this.canvas.height = 320;
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.canvas.addEventListener(end, () => { this.held = null; });
    }
    this.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.draw();
  }

  widget(name) { return this.node.widgets.find((widget) => widget.name === name); }
  value(name) { return this.widget(name).value; }

  set(name, value, step) {
    const widget = this.widget(name), { min = -Infinity, max = Infinity } = widget.options ?? {};
    widget.value = Math.min(max, Math.max(min, Math.round(value / step) * step));
    widget.value = Number(widget.value.toFixed(4));
    widget.callback?.(widget.value);
  }

  async show(seen) {
    const load = ({ filename, subfolder, type }) => new Promise((done, failed) => {
      const picture = new Image();
      picture.onload = () => done(picture);
      picture.onerror = failed;
      const query = new URLSearchParams({ filename, subfolder, type, rand: Math.random() });
      picture.src = api.apiURL(`/view?${query}`);
    });
    const [background, thing] = await Promise.all([load(seen.background), load(seen.object)]);
    this.seen = { ...seen, background, thing };
    this.canvas.height = Math.round((this.canvas.width * seen.height) / seen.width);
    this.draw();
  }

  // canvas pixels: the middle of the object's box, its half sides, its turn
  box() {
    const ratio = this.canvas.width / this.seen.width, scale = this.value("scale");
    const [right, down] = ANCHORS[this.value("anchor")];
    const wide = this.seen.object_width * scale, high = this.seen.object_height * scale;
    return {
      ratio,
      x: ratio * (right * this.seen.width + this.value("x") + (0.5 - right) * wide),
      y: ratio * (down * this.seen.height + this.value("y") + (0.5 - down) * high),
      halfWidth: (ratio * wide) / 2,
      halfHeight: (ratio * high) / 2,
      turn: (this.value("rotation") * Math.PI) / 180,
    };
  }

  // put the object's middle at a place of the canvas, whatever anchor and scale are
  moveTo(x, y) {
    const { ratio } = this.box(), [right, down] = ANCHORS[this.value("anchor")];
    const scale = this.value("scale");
    this.set("x", x / ratio - right * this.seen.width - (0.5 - right) * this.seen.object_width * scale, 0.1);
    this.set("y", y / ratio - down * this.seen.height - (0.5 - down) * this.seen.object_height * scale, 0.1);
  }

  resize(scale, box) {
    this.set("scale", scale, 0.001);
    this.moveTo(box.x, box.y);
  }

  draw() {
    const pen = this.canvas.getContext("2d"), { width, height } = this.canvas;
    pen.clearRect(0, 0, width, height);
    if (!this.seen) {
      pen.fillStyle = "#888";
      pen.font = "16px sans-serif";
      pen.textAlign = "center";
      pen.fillText("Run once; then drag the object here", width / 2, height / 2);
      return;
    }
    pen.drawImage(this.seen.background, 0, 0, width, height);
    const box = this.box(), flip = this.value("flip");
    pen.save();
    pen.translate(box.x, box.y);
    pen.rotate(box.turn);
    pen.save();
    pen.scale(flip === "horizontal" || flip === "both" ? -1 : 1, flip === "vertical" || flip === "both" ? -1 : 1);
    pen.drawImage(this.seen.thing, -box.halfWidth, -box.halfHeight, 2 * box.halfWidth, 2 * box.halfHeight);
    pen.restore();
    pen.strokeStyle = "#fff";
    pen.shadowColor = "#000";
    pen.shadowBlur = 3;
    pen.lineWidth = 1.5;
    pen.strokeRect(-box.halfWidth, -box.halfHeight, 2 * box.halfWidth, 2 * box.halfHeight);
    pen.fillStyle = "#fff";
    for (const [x, y] of [[-1, -1], [1, -1], [-1, 1], [1, 1]]) {
      pen.fillRect(x * box.halfWidth - 4, y * box.halfHeight - 4, 8, 8);
    }
    pen.beginPath();
    pen.moveTo(0, -box.halfHeight);
    pen.lineTo(0, -box.halfHeight - STALK);
    pen.stroke();
    pen.beginPath();
    pen.arc(0, -box.halfHeight - STALK, 5, 0, 7);
    pen.fill();
    pen.restore();
  }

  // where the pointer is: in canvas pixels, and seen from the object's middle, unturned
  place(event) {
    const frame = this.canvas.getBoundingClientRect(), { width, height } = this.canvas;
    const zoom = Math.min(frame.width / width, frame.height / height); // the picture keeps its aspect
    return [
      (event.clientX - frame.left - frame.width / 2) / zoom + width / 2,
      (event.clientY - frame.top - frame.height / 2) / zoom + height / 2,
    ];
  }

  press(event) {
    if (!this.seen || event.button !== 0) return;
    event.preventDefault();
    event.stopPropagation();
    this.canvas.setPointerCapture(event.pointerId);
    const [x, y] = this.place(event), box = this.box();
    const across = x - box.x, down = y - box.y;
    const u = across * Math.cos(box.turn) + down * Math.sin(box.turn);
    const v = down * Math.cos(box.turn) - across * Math.sin(box.turn);
    let kind = "move";
    if (Math.hypot(u, v + box.halfHeight + STALK) < HANDLE) kind = "turn";
    else if (Math.hypot(Math.abs(u) - box.halfWidth, Math.abs(v) - box.halfHeight) < HANDLE) kind = "scale";
    this.held = { kind, x, y, box, scale: this.value("scale"), length: Math.hypot(across, down) };
  }

  drag(event) {
    if (!this.held) return;
    event.preventDefault();
    event.stopPropagation();
    const [x, y] = this.place(event), { kind, box } = this.held;
    if (kind === "move") this.moveTo(box.x + x - this.held.x, box.y + y - this.held.y);
    if (kind === "scale") this.resize((this.held.scale * Math.hypot(x - box.x, y - box.y)) / this.held.length, box);
    if (kind === "turn") this.set("rotation", (Math.atan2(x - box.x, box.y - y) * 180) / Math.PI, 0.5);
    this.redraw();
  }

  wheel(event) {
    if (!this.seen) return;
    event.preventDefault();
    event.stopPropagation();
    this.resize(this.value("scale") * Math.exp(-event.deltaY / 1000), this.box());
    this.redraw();
  }

  redraw() {
    this.draw();
    this.node.graph?.setDirtyCanvas(true, true);
  }
}

app.registerExtension({
  name: "Raiha.PasteObject",
  nodeCreated(node) {
    if (node.comfyClass !== "Raiha_PasteObject") return;
    const stage = new Stage(node);
    node.raihaStage = stage;
    const drawn = node.addDOMWidget("stage", "raiha_stage", stage.canvas, {
      serialize: false,
      getMinHeight: () => 220,
      getMaxHeight: () => 700,
      getValue: () => "",
      setValue: () => {},
    });
    drawn.serialize = false; // else a widget of a later version would read its value
    for (const name of ["x", "y", "scale", "rotation", "flip", "anchor"]) {
      const widget = stage.widget(name), before = widget.callback;
      widget.callback = function (...values) {
        const found = before?.apply(this, values);
        stage.draw();
        return found;
      };
    }
    const executed = node.onExecuted;
    node.onExecuted = function (message) {
      executed?.apply(this, arguments);
      const seen = message?.raiha_paste?.[0];
      if (seen) stage.show(seen).catch((error) => console.warn("Raiha: the pictures of Paste Object", error));
    };
    const least = node.computeSize?.() ?? [320, 600];
    node.setSize([Math.max(380, least[0]), Math.max(640, least[1])]);
  },
});
