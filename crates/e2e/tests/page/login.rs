//! The login of a private relay's page: form, link, sign-out, and tickets that are not in force any more.

use testkit::browser::Page;

use crate::common::{alone, stop};
use crate::setup::{DRAWN, Setup, private_sender};

const FORM: &str = "document.body.dataset.state === 'login' && document.getElementById('token')";
const LIVE: &str = "document.body.dataset.state === 'live'";

/// Fills in the form and submits it, as a user does.
fn sign_in(page: &mut Page, text: &str) {
    page.wait(FORM);
    page.evaluate(&format!(
        "document.getElementById('token').value = \"{text}\"; document.getElementById('sign-in').click()"
    ));
}

/// Checks that the token is neither in the address nor in the history, and that no script reads the cookie.
fn shows_no_secret(page: &mut Page, token: &str) {
    assert_eq!(page.evaluate("location.hash"), "");
    assert_eq!(page.evaluate("document.cookie"), "");
    assert_eq!(
        page.evaluate("performance.getEntries().filter(e => e.name.includes('token')).length"),
        0
    );
    let history = page.history();
    assert!(
        !history.iter().any(|url| url.contains(token)),
        "{history:?}"
    );
}

fn token_of(link: &str) -> &str {
    link.split_once("#token=").unwrap().1
}

#[test]
fn the_form_signs_in_a_reload_stays_signed_in_and_the_button_signs_out() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, ticket, url) = setup.private(&[]);
    let _sender = private_sender(&ticket);
    let token = token_of(&url).to_owned();
    let address = setup.url() + "?camera=yard";
    let page = &mut setup.page;
    page.open(&address);
    sign_in(page, &"0".repeat(64));
    page.wait("document.getElementById('reason').textContent.includes('wrong, or was revoked')");
    sign_in(page, &ticket);
    page.wait("document.getElementById('reason').textContent.includes('a sender')");
    sign_in(page, &token);
    page.wait(LIVE);
    page.wait(&format!("{DRAWN} > 0"));
    assert_eq!(
        page.evaluate("location.search"),
        "?camera=yard",
        "where it wanted to go"
    );
    shows_no_secret(page, &token);
    page.evaluate("location.reload()");
    page.wait(LIVE);
    page.wait("document.getElementById('sign-out')");
    for (name, width, height) in [("desktop", 1000, 800), ("phone", 390, 844)] {
        page.resize(width, height, 2.0, name == "phone");
        page.wait("(box => box.right <= innerWidth && box.height >= 44)(document.getElementById('sign-out').getBoundingClientRect())");
        page.wait(&format!("{LIVE} && {DRAWN} > 0"));
        let file = format!("target/page-signed-in-{name}.png");
        page.screenshot(&testkit::repository().join(file));
    }
    page.evaluate("document.getElementById('sign-out').click()");
    page.wait(FORM);
    page.evaluate("location.reload()");
    page.wait(FORM);
    page.evaluate("fetch('/api/cameras').then(answer => window.answered = answer.status)");
    page.wait("window.answered === 401");
}

#[test]
fn a_link_signs_in_and_leaves_no_token_behind_and_mjpeg_works_too() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, ticket, url) = setup.private(&[]);
    let _sender = private_sender(&ticket);
    let page = &mut setup.page;
    page.open(&url);
    page.wait(LIVE);
    shows_no_secret(page, token_of(&url));
    page.evaluate("localStorage.setItem('test.no-sockets', 1); location.reload()");
    page.wait(
        "!motion.hidden && motion.naturalWidth === 300 && document.body.dataset.state === 'live'",
    );
    page.wait(&format!("{DRAWN} > 0"));
    shows_no_secret(page, token_of(&url));
}

#[test]
fn a_revoked_tickets_page_becomes_the_form_and_another_link_opens_what_that_one_is_for() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (relay, ticket, _) = setup.private(&[]);
    let sender = private_sender(&ticket);
    let (anna, ben) = (
        setup.link(&["anna"]),
        setup.link(&["ben", "--camera", "drive"]),
    );
    relay.wait_for_line("the tickets changed", crate::common::LONG);
    setup.page.open(&setup.url());
    setup.page.wait(FORM);
    // As when it is pasted into the address bar of the form itself: the browser loads nothing.
    setup.page.evaluate(&format!("location.href = '{anna}'"));
    setup.page.wait(LIVE);
    shows_no_secret(&mut setup.page, token_of(&anna));
    let start = std::time::Instant::now();
    setup.ticket(&["revoke", "anna"]);
    setup.page.wait(FORM);
    eprintln!(
        "the form came {:?} after the revocation began",
        start.elapsed()
    );
    setup.page.open(&ben);
    setup
        .page
        .wait("words.textContent.includes('no camera has appeared yet')");
    let choices = "[...document.getElementById('camera').options].map(o => o.value).join()";
    assert_eq!(setup.page.evaluate(choices), "");
    stop(sender);
}

#[test]
fn a_link_on_another_sites_page_leads_to_the_picture_of_a_browser_that_is_signed_in() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, ticket, url) = setup.private(&[]);
    let _sender = private_sender(&ticket);
    setup.page.open(&url);
    setup.page.wait(LIVE);
    let here = setup.url();
    // To a browser this is another site, which has none of its cookies.
    setup.page.open(&here.replace("127.0.0.1", "localhost"));
    setup.page.wait(FORM);
    setup
        .page
        .evaluate(&format!("location.href = '{here}?camera=yard'"));
    setup.page.wait(LIVE);
    assert_eq!(setup.page.evaluate("location.search"), "?camera=yard");
}

#[test]
fn an_old_link_with_its_token_in_the_query_does_no_harm() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, ticket, url) = setup.private(&[]);
    let _sender = private_sender(&ticket);
    let (good, void) = (token_of(&url).to_owned(), "0".repeat(64));
    let old = |token: &str, setup: &Setup| format!("{}?token={token}&camera=yard", setup.url());
    let address = old(&void, &setup);
    setup.page.open(&address);
    sign_in(&mut setup.page, &good);
    setup.page.wait(LIVE);
    assert_eq!(setup.page.evaluate("location.search"), "?camera=yard");
    let address = old(&good, &setup);
    setup.page.open(&address);
    setup.page.wait(LIVE);
    assert_eq!(setup.page.evaluate("location.search"), "?camera=yard");
    shows_no_secret(&mut setup.page, &good);
}

#[test]
fn a_ticket_that_a_rotation_voided_leads_to_the_form() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (relay, ticket, url) = setup.private(&[]);
    let sender = private_sender(&ticket);
    setup.page.open(&url);
    setup.page.wait(LIVE);
    stop(sender);
    stop(relay);
    let (relay, _, url) = setup.private(&["--rotate"]);
    setup.page.wait(FORM);
    setup.page.open(&url);
    setup.page.wait("document.body.dataset.signedIn === 'true'");
    // A restart signs no browser out.
    stop(relay);
    let _relay = setup.private_again();
    setup.page.evaluate("location.reload()");
    setup.page.wait("document.body.dataset.signedIn === 'true'");
}

#[test]
fn the_form_fits_a_desktop_and_a_phone() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let _relay = setup.private(&[]);
    for (name, width, height, scale, phone) in [
        ("desktop", 1280, 800, 1.0, false),
        ("phone", 360, 740, 2.0, true),
        ("landscape", 740, 360, 2.0, true),
    ] {
        let url = setup.url();
        let page = &mut setup.page;
        page.resize(width, height, scale, phone);
        page.open(&url);
        page.wait(FORM);
        let fits = "document.documentElement.scrollWidth <= innerWidth && [...document.querySelectorAll('input, button')] \
                    .every(one => { const box = one.getBoundingClientRect(); \
                    return box.left >= 0 && box.right <= innerWidth && box.top >= 0 && box.bottom <= innerHeight && box.height >= 44; })";
        page.wait(fits);
        let file = format!("target/page-login-{name}.png");
        page.screenshot(&testkit::repository().join(file));
    }
}
