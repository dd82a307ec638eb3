// Browsers start no worker for a page that was opened as a file. There, what would be a worker is a
// hidden frame that runs the same script, so that search works without a server, too.
class IFrameWorker extends EventTarget {
  constructor(url) {
    super();
    this.address = new URL(url, document.baseURI).href;
    this.frame = document.createElement("iframe");
    this.frame.hidden = true;
    document.body.append(this.frame);
    const inside = this.frame.contentWindow;
    const loaded = (source) =>
      new Promise((done, failed) => {
        const script = inside.document.createElement("script");
        Object.assign(script, { src: source, onload: done, onerror: failed });
        inside.document.body.append(script);
      });
    inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
    inside.importScripts = (...sources) =>
      sources.reduce((before, source) => before.then(() => loaded(source)), Promise.resolve());
    this.ready = loaded(this.address);
    this.addEventListener("message", (event) => this.onmessage?.(event));
  }

  postMessage(data) {
    const inside = this.frame.contentWindow;
    this.ready.then(() => inside.dispatchEvent(new inside.MessageEvent("message", { data })));
  }

  terminate() {
    this.frame.remove();
  }
}

if (location.protocol === "file:") window.Worker = window.IFrameWorker = IFrameWorker;
