// Draws the charts of a page in the colours of the page: each `.plot`, from the views in the JSON beside it.
// A chart is drawn when it is first near the window, so that a long page is there at once.
"use strict";
const peelfleetCharts = (() => {
  const dark = matchMedia("screen and (prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d"]],
  };
  const PAPER_PX = { width: 690, height: 330 };

  const narrow = () => innerWidth < 700;

  // Every other tick from the last, where all would be turned or overlap.
  const thinned = (axis) => {
    if (!narrow() || (axis.tickvals || []).length <= 6) return axis;
    const kept = (list) => list.filter((_, at) => (list.length - 1 - at) % 2 === 0);
    return { ...axis, tickvals: kept(axis.tickvals), ticktext: kept(axis.ticktext), tickangle: 0 };
  };

  const layoutOf = (view) => {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const layout = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: color("--text") },
      margin: narrow() ? { l: 42, r: 8, t: 34, b: 46 } : { l: 58, r: 14, t: 34, b: 46 },
      hovermode: "x unified",
      hoverlabel: { bgcolor: color("--card"), bordercolor: color("--line"), font: { color: color("--text") } },
      legend: { font: { size: narrow() ? 10.5 : 12.5 }, orientation: "h", x: 0, xanchor: "left", y: 1.01, yanchor: "bottom", traceorder: "normal", bgcolor: "rgba(0,0,0,0)" },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--soft"), activecolor: color("--text") },
      dragmode: coarse.matches ? false : "zoom",
      ...view.layout,
    };
    for (const key of Object.keys(layout)) {
      if (!/^[xy]axis\d*$/.test(key)) continue;
      const axis = thinned(layout[key]);
      layout[key] = {
        gridcolor: color("--line"), linecolor: color("--soft"), tickcolor: color("--soft"), zeroline: false, showline: true,
        ...axis, title: { standoff: 8, font: { size: 13 }, ...axis.title },
      };
    }
    layout.annotations = (layout.annotations || []).map((note) => ({ ...note, bgcolor: color("--card") }));
    return layout;
  };

  // Copies: plotly writes into what it is given, and a view is drawn more than once.
  const draw = (plot, view) => Plotly.react(plot, structuredClone(view.data), layoutOf(structuredClone(view)), config);

  const figures = new Map();
  const redraw = (figure) => {
    const view = figure.views[figure.select ? Number(figure.select.value) : 0];
    if (view) draw(figure.plot, view);
    // The name of the group says it in words.
    for (const picture of figure.plot.querySelectorAll(".main-svg")) picture.setAttribute("aria-hidden", "true");
    figure.drawn = true;
  };
  const near = new IntersectionObserver(
    (seen) => {
      for (const each of seen) {
        const figure = figures.get(each.target);
        if (each.isIntersecting && !figure.drawn) redraw(figure);
      }
    },
    { rootMargin: "400px" },
  );
  for (const plot of document.querySelectorAll(".plot")) {
    const name = plot.id.replace(/-plot$/, "");
    const data = document.getElementById(name + "-data");
    if (!data) continue; // drawn by a script of the page
    const figure = { plot, views: JSON.parse(data.textContent), select: document.getElementById(name + "-view"), drawn: false };
    figures.set(plot, figure);
    if (figure.select) figure.select.addEventListener("change", () => redraw(figure));
    near.observe(plot);
  }

  for (const button of document.querySelectorAll("button[data-save]")) {
    button.addEventListener("click", () => {
      const plot = document.getElementById(button.dataset.plot);
      Plotly.downloadImage(plot, { format: button.dataset.save, filename: plot.id.replace(/-plot$/, ""), width: plot.clientWidth, height: plot.clientHeight });
    });
  }

  const drawn = () => [...figures.values()].filter((figure) => figure.drawn);
  dark.addEventListener("change", () => drawn().forEach(redraw));
  // Print: everything is drawn, as wide as paper, which tells no one that it is narrower than the window.
  addEventListener("beforeprint", () => {
    for (const figure of figures.values()) {
      if (!figure.plot.closest("details:not([open])")) redraw(figure);
    }
    drawn().forEach((figure) => Plotly.relayout(figure.plot, PAPER_PX));
  });
  addEventListener("afterprint", () => drawn().forEach((figure) => Plotly.relayout(figure.plot, { width: null, height: null, autosize: true })));
  return { draw };
})();
