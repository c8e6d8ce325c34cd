//! What the page's tests share: a browser, the programs that its page needs, and scripts that read the page.

use std::net::TcpListener;

use testkit::browser::{Browser, Page};
use testkit::port;
use testkit::process::{Program, Running, binary};

use crate::common::{LONG, directory, relay, sender};

/// Runs before the page's own script: `recorded` has the messages, sockets, requests and states of the page. Sockets fail if
/// the test sets `test.no-sockets`.
pub(crate) const INIT_SCRIPT: &str = r#"
    window.recorded = { messages: [], sockets: [], requests: 0, states: [] };
    const request = window.fetch;
    window.fetch = (...args) => { recorded.requests++; return request(...args); };
    const note = () => document.body && recorded.states.push(document.body.dataset.state);
    new MutationObserver(note).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-state"] });
    const Real = WebSocket;
    window.WebSocket = class extends Real {
        constructor(url) {
            if (localStorage.getItem("test.no-sockets")) throw new Error("no sockets here");
            super(url);
            recorded.sockets.push(this);
            this.addEventListener("message", ({ data }) => {
                if (typeof data !== "string") return;
                const message = JSON.parse(data);
                if (message.v !== 1) return;
                recorded.messages.unshift(message);
                recorded.messages.length = Math.min(recorded.messages.length, 100);
            });
        }
    };
"#;

/// A checksum of the visible picture; 0 if it is not live.
const PICTURE: &str = r#"(() => {
    const { width, height } = picture;
    if (document.body.dataset.state !== "live") return 0;
    const pixels = picture.getContext("2d").getImageData(0, 0, width, height).data;
    return pixels.reduce((sum, one, i) => (sum * 31 + one * (i % 7)) % 1000003, 7);
})()"#;

/// A checksum of the MJPEG picture.
pub(crate) const MOTION: &str = r#"(() => {
    const canvas = document.createElement("canvas"), { naturalWidth: width, naturalHeight: height } = motion;
    [canvas.width, canvas.height] = [width, height];
    canvas.getContext("2d").drawImage(motion, 0, 0);
    const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    return pixels.reduce((sum, one, i) => (sum * 31 + one * (i % 7)) % 1000003, 7);
})()"#;

/// The number of drawn pixels of the canvas above the picture.
pub(crate) const DRAWN: &str = r#"(() => {
    const pixels = boxes.getContext("2d").getImageData(0, 0, boxes.width, boxes.height).data;
    let drawn = 0;
    for (let i = 3; i < pixels.length; i += 4) drawn += pixels[i] > 0;
    return drawn;
})()"#;

/// For the message of the shown frame: the number of its boxes, the number of boxes with all four edges drawn at their
/// middles, and the number of pixels drawn far from every box. All at one moment.
pub(crate) const EDGES: &str = r#"(() => {
    const seq = Number(picture.dataset.seq);
    const { messages } = recorded;
    const own = messages.find(m => m.seq === seq && m.kind === "tracked") || messages.find(m => m.seq === seq);
    if (!own || !own.detections.length) return null;
    const { width, height } = boxes, at = boxes.getContext("2d").getImageData(0, 0, width, height).data;
    const drawn = (x, y) => {
        for (let dx = -2; dx <= 2; dx++) for (let dy = -2; dy <= 2; dy++) {
            const px = Math.min(Math.max(Math.round(x) + dx, 0), width - 1);
            const py = Math.min(Math.max(Math.round(y) + dy, 0), height - 1);
            if (at[4 * (py * width + px) + 3] > 0) return true;
        }
        return false;
    };
    const places = own.detections.map(d => d.box.map((v, i) => v * (i % 2 ? height : width)));
    const good = places.filter(([x0, y0, x1, y1]) => drawn((x0 + x1) / 2, y0) && drawn((x0 + x1) / 2, y1)
        && drawn(x0, (y0 + y1) / 2) && drawn(x1, (y0 + y1) / 2)).length;
    let stray = 0;
    for (let y = 0; y < height; y += 3) for (let x = 0; x < width; x += 3) {
        const near = places.some(([x0, y0, x1, y1]) => x > x0 - 120 && x < x1 + 120 && y > y0 - 40 && y < y1 + 40);
        if (!near && at[4 * (y * width + x) + 3] > 0) stray++;
    }
    return { boxes: places.length, good, stray };
})()"#;

/// A browser's page, and the ports and the state of the relay that it opens.
pub(crate) struct Setup {
    pub(crate) page: Page,
    port: u16,
    pub(crate) http: u16,
    state: tempfile::TempDir,
}

impl Setup {
    /// Starts a browser; without one, reports a skip and returns `None`.
    pub(crate) fn new() -> Option<Self> {
        let Some(browser) = Browser::start() else {
            testkit::skip("Chromium (scripts/setup --test) is not here");
            return None;
        };
        let mut page = browser.page();
        page.add_init_script(INIT_SCRIPT);
        page.resize(1000, 800, 1.0, false);
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        Some(Self {
            page,
            port: port::free(),
            http: http.local_addr().unwrap().port(),
            state: directory(),
        })
    }

    /// Starts the relay with the demo model, which infers every second frame.
    pub(crate) fn relay(&self) -> Running {
        let http = format!("127.0.0.1:{}", self.http);
        let args = ["--http", &http, "--model", "demo", "--every", "2"];
        relay(self.port, self.state.path(), &args)
    }

    /// Starts the sender of the camera `yard`.
    pub(crate) fn sender(&self, args: &[&str]) -> Running {
        self.sender_as("yard", args)
    }

    /// Starts the sender of another camera.
    pub(crate) fn sender_as(&self, camera: &str, args: &[&str]) -> Running {
        let always = ["--source", "demo", "--camera", camera];
        sender(self.port, &[&always, args].concat())
    }

    /// Starts a private relay, and returns it with its sender's ticket and its page's address.
    pub(crate) fn private(&self, args: &[&str]) -> (Running, String, String) {
        let relay = self.private_relay(args);
        let quoted = |of: &str| {
            let line = relay.wait_for_line(of, LONG);
            line.split('\'').nth(1).unwrap().to_owned()
        };
        let ticket = quoted("pi-sender --server 'sightline://");
        let url = quoted("/#token=");
        (relay, ticket, url)
    }

    /// Starts a private relay that has its tickets already.
    pub(crate) fn private_again(&self) -> Running {
        let relay = self.private_relay(&[]);
        relay.wait_for_line("relay-server ticket list", LONG);
        relay
    }

    fn private_relay(&self, args: &[&str]) -> Running {
        let http = format!("127.0.0.1:{}", self.http);
        let always = ["--http", &http, "--model", "demo", "--private"];
        relay(self.port, self.state.path(), &[&always, args].concat())
    }

    /// Runs `relay-server ticket` for the private relay, and returns what it prints.
    pub(crate) fn ticket(&self, words: &[&str]) -> String {
        let program = Program::new(binary("relay-server"))
            .args(["ticket"])
            .args(words);
        let http = format!("http://127.0.0.1:{}", self.http);
        let program = program.args(["--http-url", &http, "--state"]);
        let done = program.args([self.state.path()]).start().finish();
        assert!(done.status.success(), "{}", done.stderr);
        done.stdout
    }

    /// Makes a viewer's ticket, and returns its link to the page.
    pub(crate) fn link(&self, words: &[&str]) -> String {
        let printed = self.ticket(&[&["add", "view"], words].concat());
        let mut lines = printed.lines();
        let link = lines.find(|line| line.starts_with("http://"));
        link.unwrap().to_owned()
    }

    /// Returns the page's address.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.http)
    }

    /// Opens the page, and waits for its live picture.
    pub(crate) fn open(&mut self) {
        let url = self.url();
        self.page.open(&url);
        self.page.wait("document.body.dataset.state === 'live'");
    }

    /// Waits until the picture has changed.
    pub(crate) fn wait_for_change(&mut self) {
        let now = self.page.evaluate(PICTURE);
        self.page.wait(&format!("![0, {now}].includes({PICTURE})"));
    }
}

/// Starts the sender of a private relay.
pub(crate) fn private_sender(ticket: &str) -> Running {
    Program::new(binary("pi-sender"))
        .args(["--server", ticket, "--source", "demo", "--camera", "yard"])
        .start()
}
