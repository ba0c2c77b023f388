// The documents of the index, as their first pages: where there is no question yet.
import { $, h, replace } from "./dom.js";
import { plural } from "./format.js";
import { thumbnail } from "./results.js";
import { followed, link } from "./store.js";

const FIRST = 24;

/** Fills the shelf; documents after the first 24 come when asked for. */
export function build(index) {
  const shelf = $("#covers-list");
  const more = $("#covers-more");
  replace(shelf, index.documents.slice(0, FIRST).map(cover));
  more.hidden = index.documents.length <= FIRST;
  more.textContent = `Show all ${index.documents.length.toLocaleString("en")}`;
  more.addEventListener("click", () => {
    more.hidden = true;
    shelf.append(...index.documents.slice(FIRST).map(cover));
    $("a", shelf.children[FIRST]).focus();
  });
}

function cover({ name, pages, first_page: first }) {
  const place = { page: first };
  const picture = `/v1/page/thumbnail?${new URLSearchParams({ page_id: first, width: 320 })}`;
  return h(
    "li",
    { class: "cover", data: { page: first } },
    h("div", { class: "sheet-image" }, thumbnail(picture, { box: [150, 178] })),
    h("a", { class: "title", href: link(place), on: { click: (event) => followed(event, place) } }, name),
    h("p", {}, plural(pages, "page")),
  );
}
