//! A real browser under test: Chromium without a window, driven by its own debugging protocol, JSON over a WebSocket, so
//! that no driver's version has to fit the browser's.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::process::{Program, Running};

/// Longest wait for the browser, on a busy machine.
const LONG: Duration = Duration::from_secs(60);
/// Interval at which a condition is polled.
const POLL: Duration = Duration::from_millis(30);

/// A browser that runs. Dropped, it is killed.
#[derive(Debug)]
pub struct Browser {
    socket: WebSocket<TcpStream>,
    /// Id of the last request.
    last_id: u64,
    _running: Running,
    _profile: tempfile::TempDir,
}

/// A page of a browser.
#[derive(Debug)]
pub struct Page {
    browser: Browser,
    session: String,
}

impl Browser {
    /// Starts Chromium with a profile of its own; `None` if it is not installed.
    ///
    /// # Panics
    /// If it does not start.
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
        let (socket, _) =
            tungstenite::client(url, stream).expect("the browser accepts the connection");
        Some(Self {
            socket,
            last_id: 0,
            _running: running,
            _profile: profile,
        })
    }

    /// Opens an empty page.
    pub fn page(mut self) -> Page {
        let target = self.call(None, "Target.createTarget", &json!({"url": "about:blank"}));
        let params = json!({"targetId": target["targetId"], "flatten": true});
        let session = self.call(None, "Target.attachToTarget", &params);
        let session = session["sessionId"]
            .as_str()
            .expect("a session has a name")
            .to_owned();
        let mut page = Page {
            browser: self,
            session,
        };
        page.call("Page.enable", &json!({}));
        page
    }

    fn call(&mut self, session: Option<&str>, method: &str, params: &Value) -> Value {
        let answer = self.try_call(session, method, params);
        answer.unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    /// Calls a method of the debugging protocol. The error is the browser's.
    fn try_call(
        &mut self,
        session: Option<&str>,
        method: &str,
        params: &Value,
    ) -> Result<Value, Value> {
        self.last_id += 1;
        let mut request = json!({"id": self.last_id, "method": method, "params": params});
        if let Some(session) = session {
            request["sessionId"] = session.into();
        }
        let request = Message::text(request.to_string());
        self.socket.send(request).expect("the browser listens");
        loop {
            let answer = self.socket.read().expect("the browser answers in time");
            let Ok(text) = answer.to_text() else { continue };
            let answer: Value = serde_json::from_str(text).unwrap_or_default();
            if answer["id"] == self.last_id {
                return match &answer["error"] {
                    Value::Null => Ok(answer["result"].clone()),
                    error => Err(error.clone()),
                };
            }
        }
    }
}

impl Page {
    /// Adds a script that runs before the scripts of every page that is opened from now on.
    pub fn add_init_script(&mut self, script: &str) {
        let params = json!({"source": script});
        self.call("Page.addScriptToEvaluateOnNewDocument", &params);
    }

    /// Opens an address.
    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", &json!({"url": url}));
    }

    /// Sets the page's size in CSS pixels and the number of screen pixels in each; a phone has a touch screen.
    pub fn resize(&mut self, width: u32, height: u32, scale: f64, phone: bool) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": scale, "mobile": phone,
        });
        self.call("Emulation.setDeviceMetricsOverride", &size);
    }

    /// Evaluates an expression and returns its value, or the value that its promise resolves to.
    ///
    /// # Panics
    /// If it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.try_evaluate(expression);
        answer.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Evaluates an expression. The error is what it throws, or the browser's: the page may just be left for another.
    fn try_evaluate(&mut self, expression: &str) -> Result<Value, Value> {
        let params = json!({
            "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true,
        });
        let Self { browser, session } = self;
        let answer = browser.try_call(Some(session), "Runtime.evaluate", &params)?;
        match &answer["exceptionDetails"] {
            Value::Null => Ok(answer["result"]["value"].clone()),
            thrown => Err(thrown.clone()),
        }
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// With the page's text, if it does not become true within a minute.
    pub fn wait(&mut self, expression: &str) {
        let deadline = Instant::now() + LONG;
        // A page that still loads does not have these variables yet.
        let safe =
            format!("(() => {{ try {{ return !!({expression}); }} catch {{ return false; }} }})()");
        while self.try_evaluate(&safe) != Ok(true.into()) {
            let text = "document.body ? document.body.innerText : 'no page'";
            assert!(
                Instant::now() < deadline,
                "never: {expression}\n{}",
                self.evaluate(text)
            );
            std::thread::sleep(POLL);
        }
    }

    /// Returns the addresses of the page's history.
    pub fn history(&mut self) -> Vec<String> {
        let history = self.call("Page.getNavigationHistory", &json!({}));
        let entries = history["entries"].as_array().into_iter().flatten();
        entries.map(|entry| entry["url"].to_string()).collect()
    }

    /// Saves a screenshot as PNG.
    ///
    /// # Panics
    /// If the file cannot be written.
    pub fn screenshot(&mut self, file: &Path) {
        let shot = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        let data = shot["data"].as_str().expect("a screenshot has data");
        let png = BASE64_STANDARD.decode(data).expect("it is base64");
        fs::write(file, png).expect("the file can be written");
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        let session = self.session.clone();
        self.browser.call(Some(&session), method, params)
    }
}
