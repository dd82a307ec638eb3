// The tab Runs: all run folders below the studio's root.

/** Fill the section of the tab. */
export async function runs(root) {
  const answer = await fetch("/api/runs", { cache: "no-cache" });
  const list = document.createElement("ul");
  for (const run of (await answer.json()).runs) {
    const item = document.createElement("li");
    item.textContent = `${run.name} ${run.accuracy ?? ""} ${run.state}`;
    list.append(item);
  }
  root.replaceChildren(list);
}
