//! The relay's page in a real browser, with the real sender's demo scene before the relay's camera.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{LONG, alone, directory, relay, sender, stop};
use serde_json::Value;
use testkit::browser::{Browser, Page};
use testkit::port;
use testkit::process::{Program, Running, binary};

/// Keeps what the page is told, and fails what the test says, before the page's own script runs.
const EAVESDROP: &str = r#"
    window.told = [];
    window.sockets = [];
    window.asked = 0;
    const ask = window.fetch;
    window.fetch = (...words) => { asked++; return ask(...words); };
    window.states = [];
    const note = () => document.body && states.push(document.body.dataset.state);
    new MutationObserver(note).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-state"] });
    const Real = WebSocket;
    window.WebSocket = class extends Real {
        constructor(url) {
            if (localStorage.getItem("test.no-sockets")) throw new Error("no sockets here");
            super(url);
            sockets.push(this);
            this.addEventListener("message", ({ data }) => {
                if (typeof data !== "string") return;
                const said = JSON.parse(data);
                if (said.v === 1) { told.unshift(said); told.length = Math.min(told.length, 100); }
            });
        }
    };
"#;

/// What is seen of the picture, as a number.
const PICTURE: &str = r#"(() => {
    const { width, height } = picture;
    if (document.body.dataset.state !== "live") return 0;
    const pixels = picture.getContext("2d").getImageData(0, 0, width, height).data;
    return pixels.reduce((sum, one, i) => (sum * 31 + one * (i % 7)) % 1000003, 7);
})()"#;

/// The same of the picture that comes as MJPEG.
const MOTION: &str = r#"(() => {
    const canvas = document.createElement("canvas"), { naturalWidth: width, naturalHeight: height } = motion;
    [canvas.width, canvas.height] = [width, height];
    canvas.getContext("2d").drawImage(motion, 0, 0);
    const pixels = canvas.getContext("2d").getImageData(0, 0, width, height).data;
    return pixels.reduce((sum, one, i) => (sum * 31 + one * (i % 7)) % 1000003, 7);
})()"#;

/// How many pixels of the canvas above it are drawn on.
const DRAWN: &str = r#"(() => {
    const pixels = boxes.getContext("2d").getImageData(0, 0, boxes.width, boxes.height).data;
    let drawn = 0;
    for (let i = 3; i < pixels.length; i += 4) drawn += pixels[i] > 0;
    return drawn;
})()"#;

/// Of the message that belongs to the frame that is shown: how many boxes it has, and how many of these have all four
/// edges drawn at their middles; and whether anything is drawn far from all of them. All at one moment.
const EDGES: &str = r#"(() => {
    const seq = Number(picture.dataset.seq);
    const own = told.find(m => m.seq === seq && m.kind === "tracked") || told.find(m => m.seq === seq);
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

struct Scene {
    page: Page,
    port: u16,
    http: u16,
    state: tempfile::TempDir,
}

impl Scene {
    /// A browser; `None`, said as a skip, where there is none.
    fn new() -> Option<Self> {
        let Some(browser) = Browser::start() else {
            testkit::skip("Chromium (scripts/setup --test) is not here");
            return None;
        };
        let mut page = browser.page();
        page.before_all(EAVESDROP);
        page.resize(1000, 800, 1.0, false);
        let http = TcpListener::bind("127.0.0.1:0").unwrap();
        Some(Self {
            page,
            port: port::free(),
            http: http.local_addr().unwrap().port(),
            state: directory(),
        })
    }

    fn relay(&self) -> Running {
        let http = format!("127.0.0.1:{}", self.http);
        let words = ["--http", &http, "--model", "demo", "--every", "2"];
        relay(self.port, self.state.path(), &words)
    }

    fn sender(&self, words: &[&str]) -> Running {
        self.sender_as("yard", words)
    }

    fn sender_as(&self, camera: &str, words: &[&str]) -> Running {
        let always = ["--source", "demo", "--camera", camera];
        sender(self.port, &[&always, words].concat())
    }

    /// A private relay, its sender's ticket and its page's address.
    fn private(&self, words: &[&str]) -> (Running, String, String) {
        let http = format!("127.0.0.1:{}", self.http);
        let always = ["--http", &http, "--model", "demo", "--private"];
        let relay = relay(self.port, self.state.path(), &[&always, words].concat());
        let quoted = |of: &str| {
            let line = relay.wait_for_line(of, LONG);
            line.split('\'').nth(1).unwrap().to_owned()
        };
        let ticket = quoted("pi-sender --server 'sightline://");
        let url = quoted("/?token=");
        (relay, ticket, url)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.http)
    }

    fn open(&mut self) {
        let url = self.url();
        self.page.open(&url);
        self.page.wait("document.body.dataset.state === 'live'");
    }

    /// Waits until the picture is another one than now.
    fn moves(&mut self) {
        let now = self.page.get(PICTURE);
        self.page.wait(&format!("![0, {now}].includes({PICTURE})"));
    }
}

fn private_sender(ticket: &str) -> Running {
    Program::new(binary("pi-sender"))
        .args(["--server", ticket, "--source", "demo", "--camera", "yard"])
        .start()
}

/// A way to a web door that can forget all its connections and swallow what comes on them, as a router does that starts
/// again.
struct Way {
    port: u16,
    swallows: Arc<AtomicBool>,
}

impl Way {
    fn to(http: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let swallows = Arc::<AtomicBool>::default();
        let hole = Arc::clone(&swallows);
        thread::spawn(move || {
            for here in listener.incoming() {
                let (here, there) = (here.unwrap(), TcpStream::connect(("127.0.0.1", http)));
                let Ok(there) = there else { continue };
                let (back, forth) = (there.try_clone().unwrap(), here.try_clone().unwrap());
                for (from, to) in [(here, there), (back, forth)] {
                    let hole = Arc::clone(&hole);
                    thread::spawn(move || pass_on(from, to, &hole));
                }
            }
        });
        Self { port, swallows }
    }

    fn swallow(&self, on: bool) {
        self.swallows.store(on, Ordering::Relaxed);
    }
}

/// What was on its way once while the way swallowed goes nowhere ever after.
fn pass_on(mut from: TcpStream, mut to: TcpStream, swallows: &AtomicBool) {
    let (mut buffer, mut forgotten) = (vec![0; 65_536], false);
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        forgotten |= swallows.load(Ordering::Relaxed);
        if !forgotten && to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    if !forgotten && !swallows.load(Ordering::Relaxed) {
        let _ = to.shutdown(std::net::Shutdown::Write);
    }
}

#[test]
fn the_picture_moves_and_boxes_stand_where_the_messages_say() {
    let _alone = alone();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let (relay, sender) = (scene.relay(), scene.sender(&[]));
    scene.open();
    scene.moves();
    scene.moves();
    let (mut looks, mut boxes) = (0, 0);
    while looks < 10 {
        scene.page.wait(&format!("window.seen = {EDGES}"));
        let seen = scene.page.get("seen");
        assert_eq!(seen["good"], seen["boxes"], "{seen}");
        assert_eq!(seen["stray"], 0, "{seen}");
        boxes += seen["boxes"].as_u64().unwrap();
        looks += 1;
    }
    assert!(boxes >= 10);
    let figures = scene.page.get("figures.textContent");
    assert!(figures.as_str().unwrap().contains("fps"), "{figures}");
    scene
        .page
        .wait("/age [0-9]{1,3} ms/.test(figures.textContent)");
    stop(sender);
    stop(relay);
}

#[test]
fn boxes_and_classes_can_be_switched_off_and_on() {
    let _alone = alone();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let (_relay, _sender) = (scene.relay(), scene.sender(&[]));
    scene.open();
    let page = &mut scene.page;
    page.wait(&format!("{DRAWN} > 0"));
    page.get("toggle.click()");
    for _ in 0..5 {
        assert_eq!(page.get(DRAWN), 0);
        let seq = page.get("picture.dataset.seq");
        page.wait(&format!("picture.dataset.seq !== {seq}"));
    }
    page.get("toggle.click()");
    page.wait(&format!("{DRAWN} > 0"));
    // Every class off, by its own button, is as good as all boxes off.
    page.get("window.off = setInterval(() => document.querySelectorAll('#classes [aria-pressed=true]').forEach(b => b.click()), 10)");
    page.wait("document.querySelectorAll('#classes button').length > 0");
    page.wait(&format!("{DRAWN} === 0"));
    page.get(
        "clearInterval(off); document.querySelectorAll('#classes button').forEach(b => b.click())",
    );
    page.wait(&format!("{DRAWN} > 0"));
    // What was chosen outlives a reload.
    page.get("toggle.click(); window.old = 1; location.reload()");
    page.wait(
        "!window.old && toggle.ariaPressed === 'false' && document.body.dataset.state === 'live'",
    );
    page.wait("told.some(m => m.detections.length)");
    assert_eq!(page.get(DRAWN), 0);
}

#[test]
fn a_sender_that_stops_shows_stale_with_its_age_and_no_boxes() {
    let _alone = alone();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let (_relay, sender) = (scene.relay(), scene.sender(&[]));
    scene.open();
    scene.page.wait(&format!("{DRAWN} > 0"));
    stop(sender);
    scene
        .page
        .wait("/^STALE [0-9.]+ s$/.test(words.textContent)");
    assert_eq!(scene.page.get(DRAWN), 0);
    scene
        .page
        .wait("parseFloat(words.textContent.slice(6)) > 3");
    // Whoever comes now sees the last picture and is not told that it is of now.
    scene.page.get("window.old = 1; location.reload()");
    scene
        .page
        .wait("!window.old && document.body.dataset.state === 'stale'");
    assert_eq!(scene.page.get("states.includes('live')"), false);
    let age = scene.page.get("parseFloat(words.textContent.slice(6))");
    assert!(age.as_f64() > Some(3.0), "{age}");
    let _sender = scene.sender(&[]);
    scene.page.wait("document.body.dataset.state === 'live'");
    assert_eq!(scene.page.get("words.textContent"), "");
    scene.moves();
}

#[test]
fn a_camera_that_sends_once_in_three_seconds_is_live() {
    let _alone = alone();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let (_relay, _sender) = (scene.relay(), scene.sender(&["--fps", "0.3"]));
    scene.open();
    for _ in 0..2 {
        let seq = scene.page.get("picture.dataset.seq");
        scene.page.wait(&format!(
            "picture.dataset.seq !== {seq} && (states.length = 0, true)"
        ));
    }
    let seq = scene.page.get("picture.dataset.seq");
    scene.page.wait(&format!("picture.dataset.seq !== {seq}"));
    assert_eq!(scene.page.get("states.includes('stale')"), false);
    scene.page.wait("figures.textContent.startsWith('0.3 fps')");
}

#[test]
fn a_network_that_forgets_its_connections_is_left_behind() {
    let _alone = alone();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let (_relay, _sender) = (scene.relay(), scene.sender(&[]));
    let way = Way::to(scene.http);
    scene.page.open(&format!("http://127.0.0.1:{}/", way.port));
    scene.page.wait("document.body.dataset.state === 'live'");
    way.swallow(true);
    // Until it asks which cameras there are, and hears nothing.
    scene
        .page
        .wait("words.textContent.includes('does not answer')");
    way.swallow(false);
    scene.page.wait("document.body.dataset.state === 'live'");
    scene.moves();
}

#[test]
fn a_relay_that_is_started_again_is_found_again() {
    let _alone = alone();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let first = scene.relay();
    let _sender = scene.sender(&[]);
    scene.open();
    let sockets = scene.page.get("sockets.length");
    stop(first);
    scene.page.wait("document.body.dataset.state === 'stale'");
    let _second = scene.relay();
    scene.page.wait("document.body.dataset.state === 'live'");
    scene.page.wait(&format!("sockets.length > {sockets}"));
    scene.moves();
    scene.page.wait(&format!("{DRAWN} > 0"));
}

#[test]
fn where_no_socket_opens_the_picture_comes_as_mjpeg_with_its_boxes() {
    let _alone = alone();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let (relay, sender) = (scene.relay(), scene.sender(&[]));
    scene.open();
    scene.page.get("localStorage.setItem('test.no-sockets', 1)");
    let url = scene.url();
    scene.page.open(&url);
    let page = &mut scene.page;
    page.wait(
        "!motion.hidden && motion.naturalWidth === 300 && document.body.dataset.state === 'live'",
    );
    page.wait(&format!("{DRAWN} > 0"));
    page.wait("figures.textContent.includes('MJPEG')");
    stop(sender);
    page.wait("words.textContent.startsWith('STALE')");
    page.wait(&format!("{DRAWN} === 0"));
    // An <img> does not start again by itself.
    stop(relay);
    page.wait("words.textContent.includes('does not answer')");
    let (_relay, _sender) = (scene.relay(), scene.sender(&[]));
    scene.page.wait("document.body.dataset.state === 'live'");
    for _ in 0..2 {
        let now = scene.page.get(MOTION);
        scene.page.wait(&format!("{now} !== {MOTION}"));
    }
}

#[test]
fn two_cameras_can_be_chosen_between() {
    let _alone = alone();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let (_relay, _yard) = (scene.relay(), scene.sender(&[]));
    scene.open();
    let _door = scene.sender_as("front door", &["--size", "240x240"]);
    let page = &mut scene.page;
    page.wait("[...document.getElementById('camera').options].some(o => o.value === 'front door')");
    page.get("document.getElementById('camera').value = 'front door'; document.getElementById('camera').onchange()");
    page.wait("document.body.dataset.state === 'live' && picture.width === 240");
    assert_eq!(page.get("location.search"), "?camera=front+door");
    page.get("location.reload()");
    page.wait("document.body.dataset.state === 'live' && picture.width === 240");
}

#[test]
fn who_has_chosen_no_camera_sees_one_that_is_live() {
    let _alone = alone();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let (_relay, yard) = (scene.relay(), scene.sender(&[]));
    scene.open();
    stop(yard);
    scene.page.wait("document.body.dataset.state === 'stale'");
    let _door = scene.sender_as("door", &["--size", "240x240"]);
    scene
        .page
        .wait("picture.width === 240 && document.body.dataset.state === 'live'");
    // One who chooses quickly, and again, has one socket in the end, and the camera that was chosen last.
    scene.page.get(
        "for (const name of ['yard', 'door', 'yard', 'door']) { \
         const chooser = document.getElementById('camera'); chooser.value = name; chooser.onchange(); }",
    );
    scene
        .page
        .wait("picture.width === 240 && document.body.dataset.state === 'live'");
    scene
        .page
        .wait("sockets.filter(one => one.readyState < 2).length === 1");
    assert_eq!(scene.page.get("location.search"), "?camera=door");
}

#[test]
fn a_token_that_was_renewed_is_said_and_not_tried_again() {
    let _alone = alone();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let (relay, ticket, url) = scene.private(&[]);
    let sender = private_sender(&ticket);
    scene.page.open(&url);
    scene.page.wait("document.body.dataset.state === 'live'");
    stop(sender);
    stop(relay);
    let (_relay, ..) = scene.private(&["--rotate"]);
    scene
        .page
        .wait("/^STALE.*this token is wrong, or was renewed/.test(words.textContent)");
    let asked = scene.page.get("asked");
    thread::sleep(Duration::from_secs(6));
    assert_eq!(scene.page.get("asked"), asked, "each would be a guess");
}

#[test]
fn a_private_page_hands_its_token_on_to_all_that_it_asks_for() {
    let _alone = alone();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let (_relay, ticket, url) = scene.private(&[]);
    let _sender = private_sender(&ticket);
    scene.page.open(&scene.url());
    scene
        .page
        .wait("document.body.innerText.includes('private')");
    scene.page.open(&url);
    scene.page.wait("document.body.dataset.state === 'live'");
    scene.page.wait(&format!("{DRAWN} > 0"));
    scene
        .page
        .get("localStorage.setItem('test.no-sockets', 1); location.reload()");
    scene.page.wait(
        "!motion.hidden && motion.naturalWidth === 300 && document.body.dataset.state === 'live'",
    );
    scene.page.wait(&format!("{DRAWN} > 0"));
}

#[test]
fn on_a_phone_everything_fits_and_can_be_touched() {
    let _alone = alone();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let (_relay, _sender) = (scene.relay(), scene.sender(&[]));
    scene.page.resize(390, 844, 3.0, true);
    scene.open();
    scene.page.wait(&format!("{DRAWN} > 0"));
    for (width, height) in [(390, 844), (844, 390), (320, 568)] {
        scene.page.resize(width, height, 3.0, true);
        let small = r"(() => {
            const out = [...document.querySelectorAll('button, select, #stage')].map(e => [e.id, e.getBoundingClientRect()])
                .filter(([id, b]) => b.left < 0 || b.right > innerWidth + 0.5 || b.width < 40 || b.height < 40);
            return { out: JSON.stringify(out), across: document.documentElement.scrollWidth - innerWidth };
        })()";
        scene.page.wait(&format!("{small}.out === '[]'"));
        let seen: Value = scene.page.get(small);
        assert_eq!(seen["across"], 0, "{width}x{height}: {seen}");
        let stage = scene
            .page
            .get("stage.getBoundingClientRect().width / stage.getBoundingClientRect().height");
        assert!((stage.as_f64().unwrap() - 1.5).abs() < 0.02, "{stage}");
        let sharp = scene.page.get("(draw(), boxes.width / stage.clientWidth)");
        assert!((sharp.as_f64().unwrap() - 3.0).abs() < 0.05, "{sharp}");
    }
    let file = testkit::repository().join("target/page-phone.png");
    scene.page.resize(390, 844, 2.0, true);
    scene.moves();
    scene.page.screenshot(&file);
}

#[test]
fn a_full_screen_and_many_classes_leave_the_picture_its_shape_and_its_room() {
    let _alone = alone();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let (_relay, _sender) = (scene.relay(), scene.sender(&[]));
    scene.page.resize(390, 844, 2.0, true);
    scene.open();
    let page = &mut scene.page;
    const SHAPE: &str = "(b => b.width / b.height)(stage.getBoundingClientRect())";
    let shaped = format!("Math.abs({SHAPE} - 1.5) < 0.02 && stage.clientWidth >= 389");
    page.get("full.click()");
    page.wait(&format!("document.fullscreenElement && {shaped}"));
    page.get("stage.click()");
    page.wait(&format!("!document.fullscreenElement && {shaped}"));
    // Phones that let no element have the screen.
    page.get("HTMLElement.prototype.requestFullscreen = undefined; full.click()");
    page.wait(&format!("!full.offsetParent && {shaped}"));
    page.get("stage.click()");
    page.get(
        "hear(JSON.stringify({ v: 1, seq: 0, t: 0, kind: 'tracked', detections: \
         [...Array(80).keys()].map(n => ({ class: n, label: 'class ' + n, score: 1, box: [0, 0, 0, 0] })) }))",
    );
    page.wait("document.querySelectorAll('#classes button').length >= 80");
    for (width, height, least) in [(390, 844, 389), (844, 390, 240), (1280, 800, 700)] {
        page.resize(width, height, 2.0, true);
        page.wait(&format!(
            "innerWidth === {width} && stage.clientWidth >= {least}"
        ));
        assert_eq!(page.get("document.documentElement.scrollWidth"), width);
    }
}

/// `SIGHTLINE_PICTURE=.github/web.png cargo test -p testkit --test page picture -- --ignored`
#[test]
#[ignore = "writes the README's picture"]
fn picture_for_the_readme() {
    let _alone = alone();
    let file = std::env::var("SIGHTLINE_PICTURE").unwrap();
    let Some(mut scene) = Scene::new() else {
        return;
    };
    let (_relay, _sender) = (scene.relay(), scene.sender(&["--size", "480x320"]));
    scene.page.resize(760, 600, 1.0, false);
    scene.open();
    for _ in 0..20 {
        scene.moves();
    }
    // Some frames in a row without a doubtful box: the picture is of one that comes a moment later.
    scene.page.wait(
        "(own => own.length > 12 && own.slice(0, 12).every(m => m.detections.length > 4 \
         && m.detections.every(d => d.score > 0.7)))(told.filter(m => m.kind === 'tracked'))",
    );
    scene
        .page
        .screenshot(&testkit::repository().join(Path::new(&file)));
}
