// The picture: hls.js where the browser has Media Source Extensions, the browser's own player elsewhere.
// It never gives up: a relay or worker that comes back is found again without a click.

const STATE_EVERY_MS = 2000;
const STALL_MS = 8000;

class Player {
  constructor(root) {
    this.root = root;
    this.video = root.querySelector("video");
    this.veil = root.querySelector(".veil");
    this.unmute = root.querySelector(".unmute");
    this.flag = root.querySelector(".pattern-flag");
    this.phase = root.dataset.phase;
    this.attempt = 0;
    this.progressAt = Date.now();
    this.lastTime = -1;
    this.listen();
    this.sayWhyNot();
    this.askState();
    setInterval(() => this.watch(), 500);
    setInterval(() => this.askState(), STATE_EVERY_MS);
  }

  listen() {
    const { video, unmute } = this;
    const muted = () => { unmute.hidden = !video.muted; };
    unmute.addEventListener("click", () => { video.muted = false; video.play().catch(() => {}); });
    video.addEventListener("volumechange", muted);
    video.addEventListener("playing", () => { this.attempt = 0; this.blocked = false; this.say(null); muted(); });
    video.addEventListener("ended", () => this.sayWhyNot());
    video.addEventListener("error", () => { if (!this.hls) this.again(); });
  }

  open() {
    const { video, root } = this;
    clearTimeout(this.timer);
    this.opened = true;
    this.hls?.destroy();
    this.hls = null;
    this.progressAt = Date.now();
    this.sayWhyNot();
    if (window.Hls?.isSupported()) {
      this.hls = this.openWithLibrary();
    } else {
      video.src = root.dataset.hls;
    }
    // An ended stream waits for a click: nobody wants yesterday's picture to start by itself.
    if (this.phase !== "ended") video.play().catch((error) => this.notAllowed(error));
  }

  // Some phones start nothing by themselves, not even without sound.
  notAllowed(error) {
    if (error.name !== "NotAllowedError") return;
    this.blocked = true;
    this.say("Press play to watch");
  }

  openWithLibrary() {
    // A relay that restarts refuses connections (code 0) for a moment: the buffer bridges that, so ask again.
    const shouldRetry = (config, count, _timeout, response, retry) =>
      retry || (count < config.maxNumRetry && (!response?.code || response.code >= 500));
    const patient = { maxNumRetry: 12, retryDelayMs: 500, maxRetryDelayMs: 2000, backoff: "linear", shouldRetry };
    const policy = (firstByte, whole) => ({
      default: { maxTimeToFirstByteMs: firstByte, maxLoadTimeMs: whole, timeoutRetry: patient, errorRetry: patient },
    });
    const hls = new window.Hls({
      workerPath: this.root.dataset.worker,
      liveSyncDurationCount: 2,
      liveMaxLatencyDurationCount: 6,
      maxLiveSyncPlaybackRate: 1.05,
      backBufferLength: 30,
      autoStartLoad: true,
      manifestLoadPolicy: policy(5000, 8000),
      playlistLoadPolicy: policy(5000, 8000),
      fragLoadPolicy: policy(8000, 20000),
    });
    hls.on(window.Hls.Events.ERROR, (_, data) => {
      if (!data.fatal) return;
      if (data.type === window.Hls.ErrorTypes.MEDIA_ERROR && this.attempt === 0) {
        this.attempt = 1;
        hls.recoverMediaError();
      } else {
        this.again();
      }
    });
    hls.loadSource(this.root.dataset.hls);
    hls.attachMedia(this.video);
    return hls;
  }

  again() {
    this.attempt += 1;
    this.sayWhyNot();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.open(), Math.min(5000, 500 * this.attempt));
  }

  // Opens anew when the picture stands still although the stream is live.
  watch() {
    const { video } = this;
    if (video.currentTime !== this.lastTime) {
      this.lastTime = video.currentTime;
      this.progressAt = Date.now();
      if (!video.paused) this.say(null);
    }
    const behind = document.querySelector("[data-player-delay]");
    if (behind && this.hls) behind.textContent = this.hls.latency > 0 ? `${this.hls.latency.toFixed(1)} s` : "–";
    const still = Date.now() - this.progressAt;
    if (!this.opened || this.blocked || this.phase === "ended" || (video.paused && this.lastTime > 0)) return;
    if (still > 1500) this.sayWhyNot();
    if (still > STALL_MS) {
      this.progressAt = Date.now();
      this.again();
    }
  }

  async askState() {
    try {
      const response = await fetch(this.root.dataset.stateUrl, { cache: "no-store" });
      if (!response.ok) return;
      const state = await response.json();
      const before = this.phase;
      this.phase = state.phase;
      this.reason = state.reason;
      this.flag.hidden = !state.test_pattern;
      // Asking for a playlist that is not there yet would only fill the browser's console.
      if (state.playable && (!this.opened || (before === "ended" && before !== state.phase))) this.open();
      if (before !== state.phase && this.video.paused) this.sayWhyNot();
    } catch {
      // The relay is away: the next question finds it again.
    }
  }

  sayWhyNot() {
    if (this.phase === "ended") {
      this.say("Stream ended", this.reason ?? this.root.dataset.reason);
    } else {
      this.say("Waiting for the picture…", this.phase === "live" ? "" : "The stream is being started.");
    }
  }

  say(title, more = "") {
    this.veil.hidden = title === null;
    if (title === null) return;
    const [strong, span] = [this.veil.querySelector("strong"), this.veil.querySelector("span")];
    // A screen reader says each change: the same words again are none.
    if (strong.textContent !== title) strong.textContent = title;
    if (span.textContent !== (more ?? "")) span.textContent = more ?? "";
  }
}

for (const root of document.querySelectorAll(".player[data-hls]")) root.player = new Player(root);
