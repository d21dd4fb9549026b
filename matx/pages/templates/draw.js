const dark = window.matchMedia("(prefers-color-scheme: dark)");

function config(light) {
  const style = getComputedStyle(document.documentElement);
  const colour = (name, plain) => (light ? plain : style.getPropertyValue(name).trim());
  const ink = colour("--ink", "#1d2328"), faint = colour("--faint", "#5c666e"), rule = colour("--rule", "#d8dde1");
  return {
    background: "transparent",
    font: "system-ui, sans-serif",
    view: { stroke: rule },
    axis: { labelColor: faint, titleColor: ink, gridColor: rule, domainColor: rule, tickColor: rule, labelLimit: 120 },
    legend: { labelColor: ink, labelLimit: 160, symbolOpacity: 1 },
    text: { color: ink },
    rule: { color: ink },
    range: { category: dark.matches && !light
      ? ["#6db3f2", "#f2a65a", "#7ccf90", "#d59cf0", "#f28b82", "#e6d36a", "#8fd3d1", "#c0c7cc"]
      : ["#1b6ca8", "#c8553d", "#3a7d44", "#8d5a97", "#b08900", "#4f6d7a", "#d1495b", "#2e4057"] },
  };
}

async function draw(light = false) {
  for (const figure of document.querySelectorAll("figure")) {
    const spec = JSON.parse(figure.querySelector('script[type="application/json"]').textContent);
    const place = figure.querySelector(".plot");
    try {
      await vegaEmbed(place, spec, { mode: "vega-lite", actions: false, renderer: "svg", config: config(light) });
      figure.dataset.drawn = "yes";
    } catch (error) {
      place.textContent = `This figure could not be drawn: ${error.message}`;
      console.error(error);
    }
  }
  document.body.dataset.drawn = "yes";
}

dark.addEventListener("change", () => draw());
window.addEventListener("beforeprint", () => draw(true));
window.addEventListener("afterprint", () => draw());
for (const part of document.querySelectorAll("details")) part.addEventListener("toggle", () => window.dispatchEvent(new Event("resize")));
draw();
