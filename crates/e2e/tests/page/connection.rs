//! Lost connections, and the choice of a camera.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::{alone, stop};
use crate::setup::{DRAWN, MOTION, Setup};

/// A TCP proxy to the relay's HTTP server that can forget all its connections and drop their bytes, as a restarted router
/// does.
struct Proxy {
    port: u16,
    drops: Arc<AtomicBool>,
}

impl Proxy {
    fn start(http: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let drops = Arc::<AtomicBool>::default();
        let shared = Arc::clone(&drops);
        thread::spawn(move || {
            for here in listener.incoming() {
                let (here, there) = (here.unwrap(), TcpStream::connect(("127.0.0.1", http)));
                let Ok(there) = there else { continue };
                let (back, forth) = (there.try_clone().unwrap(), here.try_clone().unwrap());
                for (from, to) in [(here, there), (back, forth)] {
                    let drops = Arc::clone(&shared);
                    thread::spawn(move || copy(from, to, &drops));
                }
            }
        });
        Self { port, drops }
    }

    fn set_drops(&self, on: bool) {
        self.drops.store(on, Ordering::Relaxed);
    }
}

/// Copies bytes from one connection to the other; after the first dropped bytes, it copies nothing any more.
fn copy(mut from: TcpStream, mut to: TcpStream, drops: &AtomicBool) {
    let (mut buffer, mut forgotten) = (vec![0; 65_536], false);
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        forgotten |= drops.load(Ordering::Relaxed);
        if !forgotten && to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    if !forgotten && !drops.load(Ordering::Relaxed) {
        let _ = to.shutdown(std::net::Shutdown::Write);
    }
}

#[test]
fn a_network_that_forgets_its_connections_is_left_behind() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, _sender) = (setup.relay(), setup.sender(&[]));
    let proxy = Proxy::start(setup.http);
    setup
        .page
        .open(&format!("http://127.0.0.1:{}/", proxy.port));
    setup.page.wait("document.body.dataset.state === 'live'");
    proxy.set_drops(true);
    // Until its request for the cameras is not answered.
    setup
        .page
        .wait("words.textContent.includes('does not answer')");
    proxy.set_drops(false);
    setup.page.wait("document.body.dataset.state === 'live'");
    setup.wait_for_change();
}

#[test]
fn a_relay_that_is_started_again_is_found_again() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let first = setup.relay();
    let _sender = setup.sender(&[]);
    setup.open();
    let sockets = setup.page.evaluate("recorded.sockets.length");
    stop(first);
    setup.page.wait("document.body.dataset.state === 'stale'");
    let _second = setup.relay();
    setup.page.wait("document.body.dataset.state === 'live'");
    setup
        .page
        .wait(&format!("recorded.sockets.length > {sockets}"));
    setup.wait_for_change();
    setup.page.wait(&format!("{DRAWN} > 0"));
}

#[test]
fn where_no_socket_opens_the_picture_comes_as_mjpeg_with_its_boxes() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (relay, sender) = (setup.relay(), setup.sender(&[]));
    setup.open();
    setup
        .page
        .evaluate("localStorage.setItem('test.no-sockets', 1)");
    let url = setup.url();
    setup.page.open(&url);
    let page = &mut setup.page;
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
    let (_relay, _sender) = (setup.relay(), setup.sender(&[]));
    setup.page.wait("document.body.dataset.state === 'live'");
    for _ in 0..2 {
        let now = setup.page.evaluate(MOTION);
        setup.page.wait(&format!("{now} !== {MOTION}"));
    }
}

#[test]
fn two_cameras_can_be_chosen_between() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, _yard) = (setup.relay(), setup.sender(&[]));
    setup.open();
    let _drive = setup.sender_as("side drive", &["--size", "240x240"]);
    let page = &mut setup.page;
    page.wait("[...document.getElementById('camera').options].some(o => o.value === 'side drive')");
    page.evaluate("document.getElementById('camera').value = 'side drive'; document.getElementById('camera').onchange()");
    page.wait("document.body.dataset.state === 'live' && picture.width === 240");
    assert_eq!(page.evaluate("location.search"), "?camera=side+drive");
    page.evaluate("location.reload()");
    page.wait("document.body.dataset.state === 'live' && picture.width === 240");
}

#[test]
fn who_has_chosen_no_camera_sees_one_that_is_live() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let (_relay, yard) = (setup.relay(), setup.sender(&[]));
    setup.open();
    stop(yard);
    setup.page.wait("document.body.dataset.state === 'stale'");
    let _drive = setup.sender_as("drive", &["--size", "240x240"]);
    setup
        .page
        .wait("picture.width === 240 && document.body.dataset.state === 'live'");
    // Quick choices leave one socket in the end, and the camera that was chosen last.
    setup.page.evaluate(
        "for (const name of ['yard', 'drive', 'yard', 'drive']) { \
         const chooser = document.getElementById('camera'); chooser.value = name; chooser.onchange(); }",
    );
    setup
        .page
        .wait("picture.width === 240 && document.body.dataset.state === 'live'");
    setup
        .page
        .wait("recorded.sockets.filter(one => one.readyState < 2).length === 1");
    assert_eq!(setup.page.evaluate("location.search"), "?camera=drive");
}

#[test]
fn what_comes_in_place_of_pictures_is_named_with_its_cure_where_no_camera_is_there() {
    let _alone = alone();
    let Some(mut setup) = Setup::new() else {
        return;
    };
    let relay = setup.relay();
    setup
        .page
        .open(&format!("http://127.0.0.1:{}/", setup.http));
    setup
        .page
        .wait("/no camera has appeared yet/.test(words.textContent)");
    let (relay_at, over) = (relay.listening(), Arc::<AtomicBool>::default());
    let stream = thread::spawn({
        let over = Arc::clone(&over);
        move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let packet = [&[0x47][..], &[1; 187]].concat();
            while !over.load(Ordering::Relaxed) {
                socket.send_to(&packet.repeat(7), relay_at).unwrap();
                thread::sleep(Duration::from_millis(100));
            }
        }
    });
    setup.page.wait(
        "/receives an MPEG transport stream and no picture; send JPEGs/.test(words.textContent)",
    );
    over.store(true, Ordering::Relaxed);
    stream.join().unwrap();
    stop(relay);
}
