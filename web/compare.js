// Gives Compare's pictures to the host's own slider, which the newer node rendering draws.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const address = (picture) => api.apiURL(`/view?${new URLSearchParams(picture)}`);

app.registerExtension({
  name: "Raiha.Compare",
  nodeCreated(node) {
    if (node.comfyClass !== "Raiha_Compare") return;
    const slider = node.widgets?.find((widget) => widget.name === "compare_view");
    if (!slider) return;
    slider.serializeValue = () => ""; // what it shows is no input: it must not make the node run anew
    const executed = node.onExecuted;
    node.onExecuted = function (message) {
      // the classic canvas has no slider and shows both pictures instead
      node.hideOutputImages = Boolean(window.LiteGraph?.vueNodesMode);
      executed?.apply(this, arguments);
      slider.value = {
        beforeImages: (message?.a_images ?? []).map(address),
        afterImages: (message?.b_images ?? []).map(address),
      };
      slider.callback?.(slider.value);
    };
  },
});
