// The camera in the page: a live picture, and a shot of it.

/** A camera whose picture a <video> shows: `open`, then `shot` as often as wanted, then `close`. */
export class Camera {
  constructor() {
    this.stream = null;
    this.video = null;
    this.turn = 0; // of opening: a camera that comes after `close` is let go
  }

  /** Show the camera in `video`, a phone's on its back unless `facing` is "user"; resolves once
      there is a picture. Rejects with an Error whose `why` is a key of words, see `cameraTrouble`,
      or "" where it was closed meanwhile. */
  async open(video, facing = "environment") {
    this.close();
    const turn = ++this.turn;
    try {
      if (!navigator.mediaDevices?.getUserMedia) throw new DOMException("", "SecurityError");
      const wanted = { facingMode: facing, width: { ideal: 1280 }, height: { ideal: 960 } };
      const stream = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
      if (turn !== this.turn) {
        stream.getTracks().forEach((track) => track.stop());
        throw new DOMException("", "AbortError");
      }
      [this.stream, this.video] = [stream, video];
      [video.muted, video.playsInline, video.srcObject] = [true, true, stream];
      await video.play();
    } catch (error) {
      const opened = this.turn;
      if (turn === opened) this.close();
      const why = turn === opened ? cameraTrouble(error) : "";
      throw Object.assign(new Error(error.message), { why });
    }
  }

  get opened() {
    return this.stream !== null;
  }

  /** What is seen at this moment, as a canvas of the camera's own pixels, its longer side at most
      `longest`; null while there is no picture. */
  shot(longest = Infinity) {
    const { videoWidth: width = 0, videoHeight: height = 0 } = this.video ?? {};
    if (!this.opened || !width) return null;
    const scale = Math.min(1, longest / Math.max(width, height)),
      canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height].map((side) => Math.round(side * scale) || 1);
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(this.video, 0, 0, canvas.width, canvas.height);
    return canvas;
  }

  /** Let the camera go, whose light goes out. */
  close() {
    this.turn++;
    this.stream?.getTracks().forEach((track) => track.stop());
    if (this.video) this.video.srcObject = null;
    [this.stream, this.video] = [null, null];
  }
}

/** Why there is no camera, as a key of words that say so and how to go on. */
function cameraTrouble({ name }) {
  if (name === "SecurityError")
    return location.protocol === "file:" ? "camera.file" : "camera.insecure";
  if (name === "NotAllowedError") return "camera.refused";
  if (name === "NotReadableError" || name === "AbortError") return "camera.busy";
  return "camera.missing"; // none, or none that can do what is asked
}
