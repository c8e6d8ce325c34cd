//! A virtual X server, with keys, titles and pixels.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use opencv::core::{self, Mat, Rect};
use opencv::imgcodecs;
use opencv::prelude::*;
use testkit::process::{Program, Running};

use super::{LONG, UdpRelay, eventually, viewer};

/// A virtual X server of this test's own.
pub(crate) struct VirtualDisplay {
    pub(crate) display: String,
    pub(crate) dir: tempfile::TempDir,
    _server: Running,
}

impl VirtualDisplay {
    pub(crate) fn open() -> Option<Self> {
        for (tool, probe) in [
            ("Xvfb", "-help"),
            ("xdotool", "version"),
            ("import", "-version"),
        ] {
            if !is_installed(tool, probe) {
                testkit::skip(&format!("no {tool} here"));
                return None;
            }
        }
        // The server finds a free number itself, and prints it when it is ready.
        let server = Program::new("Xvfb")
            .args([
                "-displayfd",
                "1",
                "-screen",
                "0",
                "1024x768x24",
                "-nolisten",
                "tcp",
            ])
            .start();
        eventually("Xvfb is ready", || !server.stdout().is_empty());
        Some(Self {
            display: format!(":{}", server.stdout()[0]),
            dir: tempfile::tempdir().unwrap(),
            _server: server,
        })
    }

    pub(crate) fn viewer(&self, relay: &UdpRelay) -> Program {
        self.viewer_of(relay.addr)
    }

    pub(crate) fn viewer_of(&self, relay: SocketAddr) -> Program {
        viewer(relay, self.dir.path())
            .env("DISPLAY", &self.display)
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("QT_QPA_PLATFORM")
    }

    /// Returns the window's x, y, width and height, and gives it the keyboard focus, which no window manager does here.
    pub(crate) fn window(&self, viewer: &Running) -> [i32; 4] {
        viewer.wait_for_line("frames come", LONG);
        let search = ["search", "--name", "^Video Stream"];
        let geometry = || {
            let output = self.xdotool(&[&search[..], &["getwindowgeometry", "--shell"]].concat());
            ["X=", "Y=", "WIDTH=", "HEIGHT="].map(|key| {
                let value = output.lines().find_map(|line| line.strip_prefix(key));
                value.and_then(|value| value.parse().ok()).unwrap_or(-1)
            })
        };
        eventually("a window of 640x427", || {
            matches!(geometry(), [0..=9999, 0..=9999, 640, 427])
        });
        self.xdotool(&[&search[..], &["windowfocus"]].concat());
        geometry()
    }

    /// Returns whether there is a window whose title has this camera.
    pub(crate) fn is_titled(&self, camera: &str) -> bool {
        let title = format!("^Video Stream - {camera}$");
        !self.xdotool(&["search", "--name", &title]).is_empty()
    }

    pub(crate) fn key(&self, key: &str) {
        self.xdotool(&["key", key]);
    }

    pub(crate) fn snapshot(&self, viewer: &Running, count: usize) -> Mat {
        self.snapshot_by("s", viewer, count)
    }

    /// Presses the key for a snapshot, which is the `count`th, and returns it.
    pub(crate) fn snapshot_by(&self, key: &str, viewer: &Running, count: usize) -> Mat {
        let taken = || {
            let lines = viewer.stderr().into_iter();
            lines
                .filter(|line| line.contains("snapshot"))
                .collect::<Vec<_>>()
        };
        self.key(key);
        eventually("a snapshot", || taken().len() == count);
        let line = taken().pop().unwrap();
        let file = line.split("file=").nth(1).unwrap().trim();
        imread(&self.dir.path().join(file))
    }

    /// Sends what a window manager sends for that button. There is none here, so this is X11 by hand: the connection, the
    /// two names, and the message `WM_DELETE_WINDOW`.
    pub(crate) fn press_close_button(&self) {
        let window = self.xdotool(&["search", "--name", "^Video Stream"]);
        let window: u32 = window.trim().parse().unwrap();
        let path = format!("/tmp/.X11-unix/X{}", &self.display[1..]);
        let mut x = UnixStream::connect(path).unwrap();
        x.write_all(&[b'l', 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0])
            .unwrap();
        let mut head = [0; 8];
        x.read_exact(&mut head).unwrap();
        let mut rest = vec![0; 4 * usize::from(u16::from_le_bytes([head[6], head[7]]))];
        x.read_exact(&mut rest).unwrap();

        let mut atom = |name: &str| {
            let (length, words) = (name.len() as u16, name.len().div_ceil(4));
            let mut request = vec![16, 0];
            request.extend((2 + words as u16).to_le_bytes());
            request.extend(length.to_le_bytes());
            request.extend([0, 0]);
            request.extend(name.as_bytes());
            request.resize(8 + 4 * words, 0);
            x.write_all(&request).unwrap();
            let mut reply = [0; 32];
            x.read_exact(&mut reply).unwrap();
            u32::from_le_bytes([reply[8], reply[9], reply[10], reply[11]])
        };
        let (protocols, delete) = (atom("WM_PROTOCOLS"), atom("WM_DELETE_WINDOW"));
        let mut send = vec![25, 0, 11, 0];
        send.extend([window, 0].map(u32::to_le_bytes).concat());
        send.extend([33, 32, 0, 0]);
        let message = [window, protocols, delete, 0, 0, 0, 0];
        send.extend(message.map(u32::to_le_bytes).concat());
        x.write_all(&send).unwrap();
        // The server hangs up on a client that is gone before it has read the message.
        x.set_read_timeout(Some(Duration::from_millis(500)))
            .unwrap();
        let _ = x.read(&mut head);
    }

    pub(crate) fn xdotool(&self, args: &[&str]) -> String {
        let out = Command::new("xdotool")
            .args(args)
            .env("DISPLAY", &self.display)
            .output()
            .unwrap();
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    #[track_caller]
    pub(crate) fn eventually_shows(&self, what: &str, shows: impl Fn(&Mat) -> bool) {
        let file = self.dir.path().join("screen.png");
        eventually(what, || {
            std::thread::sleep(Duration::from_millis(100));
            let taken = Command::new("import")
                .args(["-display", &self.display, "-window", "root"])
                .arg(&file)
                .status();
            taken.unwrap().success() && shows(&imread(&file))
        });
        if let Some(keep) = std::env::var_os("SIGHTLINE_SCREENSHOTS") {
            let name = format!("{}.png", what.replace(' ', "-"));
            fs::copy(&file, Path::new(&keep).join(name)).unwrap();
        }
    }
}

pub(crate) fn is_installed(tool: &str, arg: &str) -> bool {
    Command::new(tool).arg(arg).output().is_ok()
}

pub(crate) fn imread(file: &Path) -> Mat {
    imgcodecs::imread(file, imgcodecs::IMREAD_COLOR).unwrap()
}

pub(crate) fn mean(picture: &Mat, [x, y, w, h]: [i32; 4]) -> [f64; 3] {
    let area = picture.roi(Rect::new(x, y, w, h)).unwrap();
    let mean = core::mean_def(&area).unwrap();
    [mean[0], mean[1], mean[2]]
}

pub(crate) fn near(a: [f64; 3], b: [f64; 3]) -> bool {
    a.iter().zip(b).all(|(a, b)| (a - b).abs() < 12.0)
}
