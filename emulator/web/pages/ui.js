// Draws the charts of a page, in the colours of the page; each can be saved as SVG or PNG.
"use strict";
(() => {
  const dark = matchMedia("screen and (prefers-color-scheme: dark)");
  const save = (format) => ({
    name: `Save as ${format.toUpperCase()}`,
    icon: Plotly.Icons.camera,
    click: (plot) => Plotly.downloadImage(plot, { format, filename: plot.id }),
  });
  const config = {
    responsive: true,
    displaylogo: false,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", save("svg"), save("png")]],
  };

  const draw = () => {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const axis = { gridcolor: color("--line"), linecolor: color("--line"), zeroline: false };
    for (const source of document.querySelectorAll("script.chart")) {
      const { data, layout } = JSON.parse(source.textContent);
      const themed = {
        paper_bgcolor: "rgba(0,0,0,0)",
        plot_bgcolor: "rgba(0,0,0,0)",
        font: { family: getComputedStyle(document.body).fontFamily, color: color("--text") },
        margin: { l: 60, r: 12, t: 30, b: 46 },
        legend: { orientation: "h", y: 1.02, yanchor: "bottom" },
        hovermode: "x unified",
        ...layout,
        xaxis: { ...axis, ...layout.xaxis },
        yaxis: { ...axis, ...layout.yaxis },
      };
      Plotly.react(source.dataset.plot, data, themed, config);
    }
  };
  draw();
  dark.addEventListener("change", draw);
})();
