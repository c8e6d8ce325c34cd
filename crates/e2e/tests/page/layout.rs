//! The layout on phones, in full screen and with many classes.

use serde_json::Value;

use crate::common::alone;
use crate::setup::{DRAWN, Setup};

#[test]
fn on_a_phone_everything_fits_and_can_be_touched() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, _sender) = (setup.relay(), setup.sender(&[]));
    setup.page.resize(390, 844, 3.0, true);
    setup.open();
    setup.page.wait(&format!("{DRAWN} > 0"));
    for (width, height) in [(390, 844), (844, 390), (320, 568)] {
        setup.page.resize(width, height, 3.0, true);
        let small = r"(() => {
            const out = [...document.querySelectorAll('button, select, #view')].map(e => [e.id, e.getBoundingClientRect()])
                .filter(([id, b]) => b.left < 0 || b.right > innerWidth + 0.5 || b.width < 40 || b.height < 40);
            return { out: JSON.stringify(out), across: document.documentElement.scrollWidth - innerWidth };
        })()";
        setup.page.wait(&format!("{small}.out === '[]'"));
        let seen: Value = setup.page.evaluate(small);
        assert_eq!(seen["across"], 0, "{width}x{height}: {seen}");
        let view = setup
            .page
            .evaluate("view.getBoundingClientRect().width / view.getBoundingClientRect().height");
        assert!((view.as_f64().unwrap() - 1.5).abs() < 0.02, "{view}");
        let sharp = setup
            .page
            .evaluate("(draw(), boxes.width / view.clientWidth)");
        assert!((sharp.as_f64().unwrap() - 3.0).abs() < 0.05, "{sharp}");
    }
    let file = testkit::repository().join("target/page-phone.png");
    setup.page.resize(390, 844, 2.0, true);
    setup.wait_for_change();
    setup.page.screenshot(&file);
}

#[test]
fn a_full_screen_and_many_classes_leave_the_picture_its_shape_and_its_room() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, _sender) = (setup.relay(), setup.sender(&[]));
    setup.page.resize(390, 844, 2.0, true);
    setup.open();
    let page = &mut setup.page;
    const SHAPE: &str = "(b => b.width / b.height)(view.getBoundingClientRect())";
    let shaped = format!("Math.abs({SHAPE} - 1.5) < 0.02 && view.clientWidth >= 389");
    page.evaluate("full.click()");
    page.wait(&format!("document.fullscreenElement && {shaped}"));
    page.evaluate("view.click()");
    page.wait(&format!("!document.fullscreenElement && {shaped}"));
    // Some phones give no element the full screen.
    page.evaluate("HTMLElement.prototype.requestFullscreen = undefined; full.click()");
    page.wait(&format!("!full.offsetParent && {shaped}"));
    page.evaluate("view.click()");
    page.evaluate(
        "recorded.sockets.at(-1).dispatchEvent(new MessageEvent('message', { data: JSON.stringify({ v: 1, seq: 0, t: 0, \
         kind: 'tracked', detections: [...Array(80).keys()].map(n => \
         ({ class: n, label: 'class ' + n, score: 1, box: [0, 0, 0, 0] })) }) }))",
    );
    page.wait("document.querySelectorAll('#classes button').length >= 80");
    for (width, height, least) in [(390, 844, 389), (844, 390, 240), (1280, 800, 700)] {
        page.resize(width, height, 2.0, true);
        page.wait(&format!(
            "innerWidth === {width} && view.clientWidth >= {least}"
        ));
        assert_eq!(page.evaluate("document.documentElement.scrollWidth"), width);
    }
}

/// The sides of the picture as shares of the window's.
const SHARES: &str =
    r"(b => [b.width / innerWidth, b.height / innerHeight])(view.getBoundingClientRect())";

#[test]
fn in_a_landscape_phone_the_picture_has_the_room_and_the_controls_leave_it() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, _sender) = (setup.relay(), setup.sender(&[]));
    setup.page.resize(740, 360, 2.0, true);
    setup.open();
    let page = &mut setup.page;
    page.wait(&format!("{SHARES}[1] >= 0.85"));
    let opacities = "[head, controls].map(e => getComputedStyle(e).opacity).join()";
    page.wait(&format!("{opacities} === '0,0'"));
    assert!(page.evaluate(&format!("{SHARES}[1]")).as_f64() >= Some(0.85));
    page.screenshot(&testkit::repository().join("target/page-landscape.png"));
    page.evaluate("view.dispatchEvent(new PointerEvent('pointerdown', { bubbles: true }))");
    page.wait(&format!("{opacities} === '1,1'"));
    // All lie on the picture, inside the window.
    let inside = r"[...document.querySelectorAll('#camera, #toggle, #snapshot, #full')].map(e => e.getBoundingClientRect())
        .every(b => b.top >= 0 && b.bottom <= innerHeight && b.left >= 0 && b.right <= innerWidth && b.height >= 40)";
    page.wait(inside);
    page.screenshot(&testkit::repository().join("target/page-landscape-controls.png"));
    // A tall window shows them at all times.
    page.resize(390, 844, 2.0, true);
    page.evaluate("document.body.classList.add('idle')");
    page.wait(&format!("{opacities} === '1,1'"));
}

#[test]
fn in_a_small_frame_of_another_page_the_picture_has_the_room() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, _sender) = (setup.relay(), setup.sender(&[]));
    setup.open();
    let host = format!("{}healthz", setup.url());
    let page = &mut setup.page;
    page.open(&host);
    page.wait("document.readyState === 'complete' && location.pathname === '/healthz'");
    for query in ["", "?camera=yard&bare=1"] {
        page.evaluate(&format!(
            "document.body.innerHTML = '<iframe id=\"frame\" width=\"320\" height=\"240\" src=\"/{query}\"></iframe>'; 0"
        ));
        let inner = "frame.contentDocument";
        page.wait(&format!("{inner}.body.dataset.state === 'live'"));
        let share = format!("{inner}.getElementById('view').getBoundingClientRect().width / 320");
        page.wait(&format!("{share} >= 0.85"));
        let across = format!("{inner}.documentElement.scrollWidth");
        assert_eq!(page.evaluate(&across), 320, "{query}");
    }
    page.screenshot(&testkit::repository().join("target/page-frame.png"));
}

#[test]
fn a_bare_page_is_the_picture_alone() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, _sender) = (setup.relay(), setup.sender(&[]));
    let url = format!("{}?bare=1", setup.url());
    let page = &mut setup.page;
    page.open(&url);
    page.wait("document.body.dataset.state === 'live'");
    page.wait(&format!("{SHARES}[0] > 0.99"));
    page.wait(&format!("{DRAWN} > 0"));
    let seen = page.evaluate(
        "[...document.querySelectorAll('.bar, button, select')].filter(e => e.offsetParent).length",
    );
    assert_eq!(seen, 0, "no header, no controls");
}
