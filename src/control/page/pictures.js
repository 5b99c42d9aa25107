// Pictures of the user's own, chosen, dropped or pasted: the program paints in their styles.

import { ask } from "./api.js";

const id = (name) => document.getElementById(name);

/** Sends pictures, one after the other; `added` is called with the model that each becomes, `failed` with what is wrong. */
async function sendAll(files, added, failed) {
  id("add-picture").setAttribute("aria-busy", "true");
  for (const file of files) {
    try {
      // What is no picture is refused by the program, in words.
      const picture = file.type.startsWith("image/") ? file : new Blob([file], { type: "image/unknown" });
      const answer = await ask("POST", `/api/v1/pictures?name=${encodeURIComponent(file.name)}`, picture);
      await added(await answer.json());
    } catch (error) {
      failed(error.message);
    }
  }
  id("add-picture").removeAttribute("aria-busy");
}

/** Begins to listen for pictures. */
export function takePictures(added, failed) {
  let sending = Promise.resolve();
  const take = (files) => {
    const all = [...files];
    if (all.length > 0) sending = sending.then(() => sendAll(all, added, failed));
  };
  const chooser = id("picture-file");
  chooser.addEventListener("change", () => {
    take(chooser.files);
    // So that the same file can be chosen again.
    chooser.value = "";
  });
  // Entering a child leaves its parent.
  let depth = 0;
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  const show = (shown) => id("drop").classList.toggle("shown", shown);
  addEventListener("dragenter", (event) => holdsFiles(event) && show(++depth > 0));
  addEventListener("dragleave", (event) => holdsFiles(event) && show(--depth > 0));
  addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    depth = 0;
    show(false);
    take(event.dataTransfer.files);
  });
  addEventListener("paste", (event) => take(event.clipboardData?.files ?? []));
}
