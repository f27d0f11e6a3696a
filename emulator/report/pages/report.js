// Folds, choices and the search of a report.
"use strict";
(() => {
  const sections = [...document.querySelectorAll("details.section")];
  const onPaper = sections.filter((section) => !section.querySelector("table.long, pre"));

  const openTarget = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const section = target && target.closest("details.section");
    if (!section) return;
    section.open = true;
    section.scrollIntoView();
  };
  addEventListener("hashchange", openTarget);
  openTarget();
  for (const link of document.querySelectorAll(".contents a")) {
    link.addEventListener("click", () => (document.getElementById(link.hash.slice(1)).open = true));
  }
  for (const button of document.querySelectorAll("button[data-fold]")) {
    button.addEventListener("click", () => sections.forEach((section) => (section.open = button.dataset.fold === "open")));
  }

  for (const by of document.querySelectorAll("select[data-choice]")) {
    const parts = [...document.getElementsByClassName(by.dataset.choice)];
    const choose = () => parts.forEach((part, at) => (part.hidden = at !== Number(by.value)));
    by.addEventListener("change", choose);
    choose();
  }

  for (const field of document.querySelectorAll("input[data-search]")) {
    const section = document.getElementById(field.dataset.search);
    const rows = [...section.querySelectorAll("tbody tr")];
    const found = section.querySelector(".found");
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      const shown = rows.filter((row) => (row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word))) === false);
      found.textContent = words.length ? `${shown.length} of ${rows.length}` : "";
    });
  }

  // On paper: all but the files as they stand. What was folded is folded again afterwards.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = onPaper.filter((section) => !section.open);
    folded.forEach((section) => (section.open = true));
  });
  addEventListener("afterprint", () => folded.forEach((section) => (section.open = false)));
})();
