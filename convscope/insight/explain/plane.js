// The plane of test images: the one under the pointer, the finger or the keys is told, with its image.
function plane(root) {
  const at = JSON.parse(root.querySelector("script").textContent);
  const svg = root.querySelector("svg"), ring = svg.querySelector(".ring"), said = root.querySelector("output");
  const box = root.querySelector(".plane"), choice = root.querySelector("select"), tile = root.querySelector(".tile");
  const wrong = at.said.flatMap((said, i) => (said === at.label[i] ? [] : [i]));
  const [wide, high] = [svg.viewBox.baseVal.width, svg.viewBox.baseVal.height];
  let here = -1, mistake = -1;

  const shown = (i) => choice.value === "" || [at.label[i], at.said[i]].includes(+choice.value);

  function tell(i) {
    if (i < 0) return;
    here = i;
    ring.setAttribute("transform", `translate(${at.x[i]} ${at.y[i]})`);
    const [is, says] = [at.classes[at.label[i]], at.classes[at.said[i]]];
    const what = is === says ? `is ${is}, said rightly` : `is ${is}, taken for ${says}`;
    said.textContent = `Test image ${at.n[i]} ${what} (${at.p[i]} %)`;
    const place = at.tiles[i];
    tile.hidden = place === undefined;
    if (place === undefined) return;
    tile.style.setProperty("--x", place[0]);
    tile.style.setProperty("--y", place[1]);
  }

  // the image that is nearest to a place; with a direction, only what lies that way
  function nearest(x, y, along = 0, down = 0) {
    let [best, least] = [-1, Infinity];
    for (let i = 0; i < at.x.length; i++) {
      const [dx, dy] = [at.x[i] - x, at.y[i] - y];
      const ahead = dx * along + dy * down, aside = Math.abs(dx * down) + Math.abs(dy * along);
      if ((along || down) && (i === here || ahead <= 0 || aside > ahead)) continue;
      const far = dx * dx + dy * dy;
      if (far < least && shown(i)) [best, least] = [i, far];
    }
    return best;
  }

  const follow = (event) => {
    const rect = svg.getBoundingClientRect();
    tell(nearest(((event.clientX - rect.left) * wide) / rect.width, ((event.clientY - rect.top) * high) / rect.height));
  };
  svg.addEventListener("pointermove", follow);
  svg.addEventListener("pointerdown", follow);
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  box.addEventListener("keydown", (event) => {
    if (!ways[event.key]) return;
    event.preventDefault();
    tell(here < 0 ? nearest(wide / 2, high / 2) : nearest(at.x[here], at.y[here], ...ways[event.key]));
  });
  const next = root.querySelector("button");
  next.disabled = !wrong.length;
  next.addEventListener("click", () => {
    const some = wrong.filter(shown);
    mistake = (mistake + 1) % Math.max(1, some.length);
    tell(some.length ? some[mistake] : -1);
  });
  choice.addEventListener("change", () => {
    mistake = -1;
    for (const part of svg.querySelectorAll("[data-class]")) {
      part.classList.toggle("faint", choice.value !== "" && part.dataset.class !== choice.value);
    }
  });
  root.querySelector(".controls").hidden = false;
}
document.querySelectorAll(".images").forEach(plane);
