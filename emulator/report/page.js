"use strict";
(() => {
  const dark = matchMedia("screen and (prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  };

  const colors = () =>
    dark.matches
      ? { text: "#c3ccd4", grid: "#2b333b", line: "#4a545e", hover: "#1c2229", page: "rgba(20,24,29,0.8)" }
      : { text: "#48535d", grid: "#e9edf0", line: "#b9c2ca", hover: "#ffffff", page: "rgba(255,255,255,0.8)" };

  const narrow = () => innerWidth < 700;

  // Every other tick from the last, where all would be turned or overlap.
  const thinned = (axis) => {
    if (!narrow() || (axis.tickvals || []).length <= 6) return axis;
    const kept = (list) => list.filter((_, at) => (list.length - 1 - at) % 2 === 0);
    return { ...axis, tickvals: kept(axis.tickvals), ticktext: kept(axis.ticktext), tickangle: 0 };
  };

  const themed = (axis, c) => ({
    gridcolor: c.grid,
    linecolor: c.line,
    tickcolor: c.line,
    zeroline: false,
    showline: true,
    ...thinned(axis),
    title: { standoff: 8, font: { size: 13 }, ...axis.title },
  });

  const layoutOf = (view) => {
    const c = colors();
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: c.text },
      margin: narrow() ? { l: 42, r: 8, t: 34, b: 46 } : { l: 58, r: 14, t: 34, b: 46 },
      hovermode: "x unified",
      hoverlabel: { bgcolor: c.hover, bordercolor: c.line, font: { color: c.text } },
      legend: { font: { size: narrow() ? 10.5 : 12.5 }, orientation: "h", x: 0, xanchor: "left", y: 1.01, yanchor: "bottom", traceorder: "normal" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: c.line, activecolor: c.text },
      dragmode: coarse.matches ? false : "zoom",
      ...view.layout,
    };
    for (const key of Object.keys(layout)) {
      if (/^[xy]axis\d*$/.test(key)) layout[key] = themed(layout[key], c);
    }
    for (const note of layout.annotations || []) note.bgcolor = c.page;
    return layout;
  };

  const draw = (figure) => {
    const view = figure.views[figure.select ? Number(figure.select.value) : 0];
    // Copies: plotly writes into what it is given, and a view is drawn more than once.
    if (view) Plotly.react(figure.plot, structuredClone(view.data), layoutOf(structuredClone(view)), config);
  };

  const figures = [...document.querySelectorAll(".plot")].map((plot) => {
    const name = plot.id.replace(/-plot$/, "");
    const views = JSON.parse(document.getElementById(name + "-data").textContent);
    const figure = { plot, views, select: document.getElementById(name + "-view") };
    if (figure.select) figure.select.addEventListener("change", () => draw(figure));
    draw(figure);
    return figure;
  });

  const by = document.getElementById("split-by");
  if (by) {
    const parts = [...document.querySelectorAll(".split")];
    const choose = () => parts.forEach((part, at) => (part.hidden = at !== Number(by.value)));
    by.addEventListener("change", choose);
    choose();
  }

  dark.addEventListener("change", () => figures.forEach(draw));
  // A page on paper is narrower than the screen, and tells no one that it has been resized.
  addEventListener("beforeprint", () => figures.forEach((f) => Plotly.relayout(f.plot, { width: 690 })));
  addEventListener("afterprint", () => figures.forEach((f) => Plotly.relayout(f.plot, { width: null, autosize: true })));
})();
