"use strict";

(() => {
  /** Opens the folds around what the address names. */
  function unfold() {
    let name = location.hash.slice(1);
    try {
      name = decodeURIComponent(name);
    } catch {} // a percent sign that encodes nothing
    const target = document.getElementById(name);
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    if (target?.closest("details")) target.scrollIntoView();
  }
  window.addEventListener("hashchange", unfold);
  // a second click on a link does not change the address
  document.addEventListener("click", ({ target }) => {
    if (target.closest?.(`a[href="${CSS.escape(location.hash)}"]`)) unfold();
  });
  unfold();

  // paper has no folds, but for the rows that a table leaves out
  let folded = [];
  window.addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open], .rest)")];
    for (const node of folded) node.open = true;
  });
  window.addEventListener("afterprint", () => { for (const node of folded) node.open = false; });

  // browsers show titles to the mouse alone
  const tip = document.getElementById("tip");
  let owner = null;
  function hide() { owner = null; tip.hidden = true; }
  function place() {
    if (!owner) return;
    const box = owner.getBoundingClientRect();
    const below = box.bottom + tip.offsetHeight + 12 < innerHeight;
    tip.style.top = `${below ? box.bottom + 6 : box.top - tip.offsetHeight - 6}px`;
    tip.style.left = `${Math.max(8, Math.min(box.left, innerWidth - tip.offsetWidth - 8))}px`;
  }
  document.addEventListener("focusin", ({ target }) => {
    hide();
    if (!target.title || !target.matches(":focus-visible")) return;
    owner = target;
    tip.textContent = target.title;
    tip.hidden = false;
    place();
  });
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", ({ key }) => { if (key === "Escape") hide(); });
  document.addEventListener("scroll", place, { capture: true, passive: true });
})();
