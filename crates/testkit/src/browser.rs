//! A real browser under test: Chromium without a window, driven by its own debugging protocol, which is JSON over a
//! WebSocket; so there is no driver between whose version would have to fit.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::process::{Program, Running};

/// For a busy machine.
const LONG: Duration = Duration::from_secs(60);
/// Between two looks at a page.
const LOOK: Duration = Duration::from_millis(30);

/// A browser that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Browser {
    socket: WebSocket<TcpStream>,
    asked: u64,
    _running: Running,
    _profile: tempfile::TempDir,
}

/// A page in it.
#[derive(Debug)]
pub struct Page {
    browser: Browser,
    session: String,
}

impl Browser {
    /// Starts Chromium with a profile of its own; `None` where this machine has none.
    ///
    /// # Panics
    /// Where it does not come up.
    pub fn start() -> Option<Self> {
        let path = ["chromium", "google-chrome"]
            .into_iter()
            .find_map(crate::process::on_path)?;
        let profile = tempfile::tempdir().expect("a directory for the profile");
        let running = Program::new(path)
            // Tests may run as root and in containers, where its sandbox does not start and /dev/shm is small.
            .args(["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"])
            .args(["--disable-gpu", "--no-first-run", "--mute-audio"])
            .args(["--remote-debugging-port=0", "--hide-scrollbars"])
            .args([format!("--user-data-dir={}", profile.path().display())])
            .args(["about:blank"])
            .start();
        let line = running.wait_for_line("DevTools listening on ws://", LONG);
        let (_, url) = line.split_once(" on ").expect("the line was waited for");
        let host = url.split('/').nth(2).expect("a URL has a host");
        let stream = TcpStream::connect(host).expect("the browser listens");
        stream
            .set_read_timeout(Some(LONG))
            .expect("a minute is a timeout");
        let (socket, _) = tungstenite::client(url, stream).expect("the browser takes it");
        Some(Self {
            socket,
            asked: 0,
            _running: running,
            _profile: profile,
        })
    }

    /// Opens an empty page.
    pub fn page(mut self) -> Page {
        let target = self.ask(None, "Target.createTarget", &json!({"url": "about:blank"}));
        let words = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.ask(None, "Target.attachToTarget", &words);
        let session = session["sessionId"]
            .as_str()
            .expect("a session has a name")
            .to_owned();
        let mut page = Page {
            browser: self,
            session,
        };
        page.ask("Page.enable", &json!({}));
        page
    }

    fn ask(&mut self, session: Option<&str>, method: &str, words: &Value) -> Value {
        self.asked += 1;
        let mut question = json!({"id": self.asked, "method": method, "params": words});
        if let Some(session) = session {
            question["sessionId"] = session.into();
        }
        let question = Message::text(question.to_string());
        self.socket.send(question).expect("the browser listens");
        loop {
            let answer = self.socket.read().expect("the browser answers in time");
            let Ok(text) = answer.to_text() else { continue };
            let answer: Value = serde_json::from_str(text).unwrap_or_default();
            if answer["id"] == self.asked {
                let error = &answer["error"];
                assert!(error.is_null(), "{method} {words}: {error}");
                return answer["result"].clone();
            }
        }
    }
}

impl Page {
    /// Runs this before any script of the pages that are opened from now on.
    pub fn before_all(&mut self, script: &str) {
        let words = json!({"source": script});
        self.ask("Page.addScriptToEvaluateOnNewDocument", &words);
    }

    /// Goes to an address.
    pub fn open(&mut self, url: &str) {
        self.ask("Page.navigate", &json!({"url": url}));
    }

    /// Gives the page so many pixels, of so many of the screen's each; those of a phone can be touched.
    pub fn resize(&mut self, width: u32, height: u32, scale: f64, phone: bool) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone,
        });
        self.ask("Emulation.setDeviceMetricsOverride", &size);
    }

    /// What an expression is, or what its promise comes to.
    ///
    /// # Panics
    /// Where it throws.
    pub fn get(&mut self, expression: &str) -> Value {
        let words = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true,
        });
        let answer = self.ask("Runtime.evaluate", &words);
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// With what the page says, where it does not become true in a minute.
    pub fn wait(&mut self, expression: &str) {
        let deadline = Instant::now() + LONG;
        // A page that is on its way has no such words yet.
        let safe =
            format!("(() => {{ try {{ return !!({expression}); }} catch {{ return false; }} }})()");
        while self.get(&safe) != true {
            let words = "document.body ? document.body.innerText : 'no page'";
            assert!(
                Instant::now() < deadline,
                "never: {expression}\n{}",
                self.get(words)
            );
            std::thread::sleep(LOOK);
        }
    }

    /// Saves what is seen as PNG.
    ///
    /// # Panics
    /// Where the file cannot be written.
    pub fn screenshot(&mut self, file: &Path) {
        let shot = self.ask("Page.captureScreenshot", &json!({"format": "png"}));
        let data = shot["data"].as_str().expect("a screenshot has data");
        let png = BASE64_STANDARD.decode(data).expect("it is base64");
        fs::write(file, png).expect("the file can be written");
    }

    fn ask(&mut self, method: &str, words: &Value) -> Value {
        let session = self.session.clone();
        self.browser.ask(Some(&session), method, words)
    }
}
