//! The live picture, and the boxes drawn over it.

use std::path::Path;

use crate::common::{alone, stop};
use crate::setup::{DRAWN, EDGES, Setup};

#[test]
fn the_picture_moves_and_boxes_stand_where_the_messages_say() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (relay, sender) = (setup.relay(), setup.sender(&[]));
    setup.open();
    setup.wait_for_change();
    setup.wait_for_change();
    let (mut rounds, mut boxes) = (0, 0);
    while rounds < 10 {
        setup.page.wait(&format!("window.seen = {EDGES}"));
        let seen = setup.page.evaluate("seen");
        assert_eq!(seen["good"], seen["boxes"], "{seen}");
        assert_eq!(seen["stray"], 0, "{seen}");
        boxes += seen["boxes"].as_u64().unwrap();
        rounds += 1;
    }
    assert!(boxes >= 10);
    let figures = setup.page.evaluate("figures.textContent");
    assert!(figures.as_str().unwrap().contains("fps"), "{figures}");
    setup
        .page
        .wait("/age [0-9]{1,3} ms/.test(figures.textContent)");
    stop(sender);
    stop(relay);
}

#[test]
fn boxes_and_classes_can_be_switched_off_and_on() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, _sender) = (setup.relay(), setup.sender(&[]));
    setup.open();
    let page = &mut setup.page;
    page.wait(&format!("{DRAWN} > 0"));
    page.evaluate("toggle.click()");
    for _ in 0..5 {
        assert_eq!(page.evaluate(DRAWN), 0);
        let seq = page.evaluate("picture.dataset.seq");
        page.wait(&format!("picture.dataset.seq !== {seq}"));
    }
    page.evaluate("toggle.click()");
    page.wait(&format!("{DRAWN} > 0"));
    // With each class switched off by its own button, no box is drawn either.
    page.evaluate("window.off = setInterval(() => document.querySelectorAll('#classes [aria-pressed=true]').forEach(b => b.click()), 10)");
    page.wait("document.querySelectorAll('#classes button').length > 0");
    page.wait(&format!("{DRAWN} === 0"));
    page.evaluate(
        "clearInterval(off); document.querySelectorAll('#classes button').forEach(b => b.click())",
    );
    page.wait(&format!("{DRAWN} > 0"));
    // The choice outlives a reload.
    page.evaluate("toggle.click(); window.old = 1; location.reload()");
    page.wait(
        "!window.old && toggle.ariaPressed === 'false' && document.body.dataset.state === 'live'",
    );
    page.wait("recorded.messages.some(m => m.detections.length)");
    assert_eq!(page.evaluate(DRAWN), 0);
}

/// A snapshot, and whether it is the frame as it came; of one with boxes also how many of its pixels differ from the picture.
const SNAPSHOT: &str = r#"(async () => {
    const { width, height } = picture;
    const pixels = source => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [width, height];
        canvas.getContext("2d").drawImage(source, 0, 0);
        return canvas.getContext("2d").getImageData(0, 0, width, height).data;
    };
    const shown = pixels(picture), came = frame.blob;
    const boxes = (showBoxes && currentBoxes() || { boxes: [] }).boxes.length;
    const blob = await takeSnapshot();
    const taken = await createImageBitmap(blob);
    const jpeg = pixels(taken);
    let drawn = 0;
    for (let i = 0; i < jpeg.length; i += 4) drawn += [0, 1, 2].some(c => Math.abs(jpeg[i + c] - shown[i + c]) > 60);
    return { boxes, drawn, asItCame: blob === came, type: blob.type, size: [taken.width, taken.height].join() };
})()"#;

#[test]
fn a_snapshot_is_the_picture_with_its_boxes_as_they_are_shown() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, _sender) = (setup.relay(), setup.sender(&[]));
    setup.open();
    let page = &mut setup.page;
    page.wait(&format!("{DRAWN} > 0"));
    let with = loop {
        let taken = page.evaluate(SNAPSHOT);
        if taken["boxes"].as_u64() > Some(0) {
            break taken;
        }
    };
    assert!(with["drawn"].as_u64() > Some(200), "{with}");
    assert_eq!(
        (&with["asItCame"], &with["type"]),
        (&false.into(), &"image/jpeg".into())
    );
    assert_eq!(with["size"], "300,200");
    page.evaluate("toggle.click()");
    let without = page.evaluate(SNAPSHOT);
    assert_eq!(
        (&without["asItCame"], &without["drawn"]),
        (&true.into(), &0.into())
    );
    page.evaluate(
        "toggle.click(); addDetections({ v: 1, seq: 0, t: 0, kind: 'tracked', detections: [] })",
    );
    page.evaluate(
        "document.querySelectorAll('#classes [aria-pressed=true]').forEach(b => b.click())",
    );
    page.evaluate("for (const m of recorded.messages) for (const d of m.detections) hiddenClasses.add(d.label)");
    assert_eq!(
        page.evaluate(SNAPSHOT)["asItCame"],
        true,
        "all classes are off"
    );
    // In place of a frame, MJPEG's picture.
    page.evaluate("hiddenClasses.clear(); localStorage.setItem('test.no-sockets', '1'); window.old = 1; location.reload()");
    page.wait(
        "!window.old && !motion.hidden && document.body.dataset.state === 'live' && mjpegBoxes(9)",
    );
    let size = "takeSnapshot().then(createImageBitmap).then(b => [b.width, b.height].join())";
    assert_eq!(page.evaluate(size), "300,200");
}

#[test]
fn a_sender_that_stops_shows_stale_with_its_age_and_no_boxes() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, sender) = (setup.relay(), setup.sender(&[]));
    setup.open();
    setup.page.wait(&format!("{DRAWN} > 0"));
    stop(sender);
    setup
        .page
        .wait("/^STALE [0-9.]+ s$/.test(words.textContent)");
    assert_eq!(setup.page.evaluate(DRAWN), 0);
    setup
        .page
        .wait("parseFloat(words.textContent.slice(6)) > 3");
    // A page that is opened now shows the last picture, and never as live.
    setup.page.evaluate("window.old = 1; location.reload()");
    setup
        .page
        .wait("!window.old && document.body.dataset.state === 'stale'");
    assert_eq!(
        setup.page.evaluate("recorded.states.includes('live')"),
        false
    );
    let age = setup
        .page
        .evaluate("parseFloat(words.textContent.slice(6))");
    assert!(age.as_f64() > Some(3.0), "{age}");
    let _sender = setup.sender(&[]);
    setup.page.wait("document.body.dataset.state === 'live'");
    assert_eq!(setup.page.evaluate("words.textContent"), "");
    setup.wait_for_change();
}

#[test]
fn a_camera_that_sends_once_in_three_seconds_is_live() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, _sender) = (setup.relay(), setup.sender(&["--fps", "0.3"]));
    setup.open();
    for _ in 0..2 {
        let seq = setup.page.evaluate("picture.dataset.seq");
        setup.page.wait(&format!(
            "picture.dataset.seq !== {seq} && (recorded.states.length = 0, true)"
        ));
    }
    let seq = setup.page.evaluate("picture.dataset.seq");
    setup.page.wait(&format!("picture.dataset.seq !== {seq}"));
    assert_eq!(
        setup.page.evaluate("recorded.states.includes('stale')"),
        false
    );
    setup.page.wait("figures.textContent.startsWith('0.3 fps')");
}

/// Two messages with 1000 boxes each, whose best come last; what the page keeps and draws of them, and the milliseconds of
/// one drawing.
const CROWD: &str = r#"(() => {
    const item = (_, n) => ({ id: n, class: n % 8, label: "person", score: n / 1000, box: [0.1, 0.1, 0.6, 0.6] });
    for (const seq of [1, 2]) {
        addDetections({ v: 1, seq, t: seq, kind: "tracked", detections: Array.from({ length: 1000 }, item) });
    }
    frame = { seq: 3, captured: 2100, at: performance.now() + 3600000 };
    const start = performance.now();
    for (let n = 0; n < 50; n++) draw();
    boxes.getContext("2d").getImageData(0, 0, 1, 1);
    const ms = (performance.now() - start) / 50;
    return { kept: tracked.map(m => m.detections.length), best: tracked[0].detections[0].id,
        drawn: currentBoxes().boxes.length, ms };
})()"#;

#[test]
fn of_a_frames_boxes_the_page_draws_the_100_best() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let _relay = setup.relay();
    let url = setup.url();
    setup.page.open(&url);
    setup.page.wait("document.readyState === 'complete'");
    let crowd = setup.page.evaluate(CROWD);
    eprintln!("1000 boxes: {crowd}");
    assert_eq!(crowd["kept"], serde_json::json!([100, 100]), "{crowd}");
    assert_eq!(crowd["drawn"], 100, "{crowd}");
    assert_eq!(crowd["best"], 999, "{crowd}");
}

/// The ages of frames captured so many milliseconds ago, by a camera's clock with this comparison.
const AGES: &str = r#"(() => {
    clock = { roundTrip: 2000, at: performance.now(), offset: 0 };
    const now = Date.now.bind(Date);
    const age = (ago, info) => {
        cameraInfo = info || { offset_us: 0 };
        frame = { seq: 1, captured: now() - ago, at: performance.now() };
        const age = frameAge();
        return age === null ? null : Math.round(age / 1000);
    };
    // The browser's wall clock is set while the page is open.
    const setAhead = () => {
        Date.now = () => now() + 3600e3;
        const ages = [age(5000), age(5000, {})];
        Date.now = now;
        return ages;
    };
    const day = 24 * 3600 * 1000;
    return { good: [age(5000), age(7 * day - 5000)], behind: age(-500),
        absurd: [age(8 * day), age(Date.now() - 1), age(-1e15), age(5000, { offset_us: 0, error_us: 2e6 }), age(5000, { offset_us: -9e18 })],
        assumed: [age(5000, {}), age(3600e3, {}), age(-3600e3, {})], set: setAhead() };
})()"#;

#[test]
fn an_absurd_time_is_no_age_and_lists_of_cameras_flood_no_requests() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let _relay = setup.relay();
    let url = setup.url();
    let page = &mut setup.page;
    page.open(&url);
    page.wait("document.readyState === 'complete'");
    let ages = page.evaluate(AGES);
    assert_eq!(ages["good"], serde_json::json!([5, 604_795]), "{ages}");
    assert_eq!(
        ages["assumed"],
        serde_json::json!([5, null, null]),
        "{ages}"
    );
    assert_eq!(ages["set"], serde_json::json!([5, null]), "{ages}");
    assert!(ages["behind"].is_number(), "{ages}");
    let absurd = ages["absurd"].as_array().unwrap();
    assert!(
        absurd.len() == 5 && absurd.iter().all(|age| age.is_null()),
        "{ages}"
    );

    page.evaluate(
        "frame = null; disconnect(); recorded.requests = 0; window.began = performance.now()",
    );
    page.evaluate(
        "window.flood = setInterval(() => { for (let n = 0; n < 20; n++) handleMessage('{\"cameras\":[\"a\"]}') }, 5)",
    );
    page.wait("performance.now() - began > 1000");
    let requests = page.evaluate("clearInterval(flood); recorded.requests");
    let requests = requests.as_u64().unwrap();
    assert!((1..=8).contains(&requests), "{requests}");
}

/// `SIGHTLINE_PICTURE=.github/web.png cargo test -p e2e --test page picture -- --ignored`
#[test]
#[ignore = "writes the README's picture"]
fn picture_for_the_readme() {
    let _alone = alone();
    let file = std::env::var("SIGHTLINE_PICTURE").unwrap();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, _sender) = (setup.relay(), setup.sender(&["--size", "480x320"]));
    setup.page.resize(760, 600, 1.0, false);
    setup.open();
    for _ in 0..20 {
        setup.wait_for_change();
    }
    // Some frames in a row without a doubtful box: the picture is of one that arrives a moment later.
    setup.page.wait(
        "(own => own.length > 12 && own.slice(0, 12).every(m => m.detections.length > 4 \
         && m.detections.every(d => d.score > 0.7)))(recorded.messages.filter(m => m.kind === 'tracked'))",
    );
    setup
        .page
        .screenshot(&testkit::repository().join(Path::new(&file)));
}
