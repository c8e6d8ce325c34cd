//! `scripts/get-model` against a server on this machine: whole files, parts, and all that can go wrong on the way.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helpers, too, fail by panicking"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use testkit::process::{Finished, Program};

/// Bytes whose start is that of an ONNX file.
const MODEL: &[u8] = b"\x08\x08a model, though a small one\n";

#[test]
fn a_model_is_fetched_with_a_word_on_its_licence_before() {
    let (tree, server) = (Tree::new(), Server::start(Answer::Model));
    let done = tree.get("yolov5s", &server.url());
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(server.asked(), [("/yolov5s.onnx".to_owned(), None)]);
    tree.has_model("yolov5s");
    let licence = done.stdout.find("AGPL-3.0").unwrap();
    assert!(
        licence < done.stdout.find("fetching").unwrap(),
        "{}",
        done.stdout
    );
    assert!(
        done.stdout
            .contains("relay-server --model models/yolov5s.onnx"),
        "{}",
        done.stdout
    );
}

#[test]
fn an_installed_script_fetches_to_where_the_installed_relay_searches() {
    let server = Server::start(Answer::Model);
    let prefix = tempfile::tempdir().unwrap();
    let own = prefix.path().join("lib/sightline");
    fs::create_dir_all(&own).unwrap();
    let script = own.join("get-model");
    fs::copy(testkit::repository().join("scripts/get-model"), &script).unwrap();
    let done = Program::new(tool("bash").unwrap())
        .args([&script])
        .args(["yolov5s"])
        .env("SIGHTLINE_MODEL_URL", server.url())
        .env("no_proxy", "127.0.0.1")
        .start()
        .finish();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(fs::read(own.join("models/yolov5s.onnx")).unwrap(), MODEL);
}

#[test]
fn a_model_that_is_there_is_not_fetched_again() {
    let (tree, server) = (Tree::new(), Server::start(Answer::Model));
    tree.get("yolov5s", &server.url());
    let again = tree.get("yolov5s", &server.url());
    assert_eq!(again.status.code(), Some(0), "{again:?}");
    assert!(again.stdout.contains("there already"), "{again:?}");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_download_that_broke_off_goes_on_where_it_stopped() {
    let tree = Tree::new();
    let broken = tree.get("yolov5m", &Server::start(Answer::Cut(10)).url());
    assert_eq!(broken.status.code(), Some(1), "{broken:?}");
    assert!(
        broken.stderr.contains("run this again, and it goes on"),
        "{broken:?}"
    );
    assert_eq!(tree.models(), ["yolov5m.onnx.part"]);

    let server = Server::start(Answer::Model);
    let done = tree.get("yolov5m", &server.url());
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(server.asked(), [("/yolov5m.onnx".to_owned(), Some(10))]);
    tree.has_model("yolov5m");
}

#[test]
fn a_part_is_finished_by_a_server_that_gives_only_whole_files() {
    let (tree, server) = (Tree::new(), Server::start(Answer::WholeOnly));
    tree.put("yolov5m.onnx.part", &MODEL[..7]);
    let done = tree.get("yolov5m", &server.url());
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    tree.has_model("yolov5m");
}

#[test]
fn a_part_that_lacked_only_its_name_is_finished() {
    let (tree, server) = (Tree::new(), Server::start(Answer::Model));
    tree.put("yolov5m.onnx.part", MODEL);
    let done = tree.get("yolov5m", &server.url());
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    tree.has_model("yolov5m");
}

#[test]
fn nothing_is_kept_of_what_is_not_the_published_file() {
    let (tree, server) = (Tree::new(), Server::start(Answer::Model));
    let done = tree.get("yolov5n", &server.url());
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(
        done.stderr
            .contains("expected 04f0e55c26f58d17145b36045780fe1250d5bd2187543e11568e5141d05b3262")
            && done.stderr.contains(&format!("found {}", sha256(MODEL))),
        "{done:?}"
    );
    assert!(tree.models().is_empty(), "{:?}", tree.models());
}

#[test]
fn what_the_first_download_had_is_what_later_ones_must_have() {
    let (tree, server) = (Tree::new(), Server::start(Answer::Model));
    tree.put(
        "yolov5x.onnx.sha256",
        format!("{}  yolov5x.onnx\n", sha256(b"another")).as_bytes(),
    );
    let done = tree.get("yolov5x", &server.url());
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(
        done.stderr.contains(&sha256(b"another")) && done.stderr.contains("yolov5x.onnx.sha256"),
        "{done:?}"
    );
    assert_eq!(tree.models(), ["yolov5x.onnx.sha256"]);
}

#[test]
fn a_file_of_the_users_own_is_named_and_left_alone() {
    let (tree, server) = (Tree::new(), Server::start(Answer::Model));
    tree.put("yolov5n.onnx", b"my own export");
    let done = tree.get("yolov5n", &server.url());
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(done.stderr.contains("not the official file"), "{done:?}");
    assert_eq!(tree.models(), ["yolov5n.onnx"]);
    assert!(server.asked().is_empty());
}

#[test]
fn a_page_to_log_in_to_is_no_model() {
    let (tree, server) = (Tree::new(), Server::start(Answer::LoginPage));
    let done = tree.get("yolov5l", &server.url());
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(done.stderr.contains("no ONNX file"), "{done:?}");
    assert!(tree.models().is_empty(), "{:?}", tree.models());
}

#[test]
fn a_server_without_the_file_is_said_with_its_answer() {
    let (tree, server) = (Tree::new(), Server::start(Answer::NotFound));
    let done = tree.get("yolov5s", &server.url());
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(
        done.stderr.contains("404") && done.stderr.contains("SIGHTLINE_MODEL_URL"),
        "{done:?}"
    );
    assert!(tree.models().is_empty(), "{:?}", tree.models());
}

#[test]
fn a_server_that_is_gone_costs_no_part() {
    let tree = Tree::new();
    tree.put("yolov5s.onnx.part", &MODEL[..7]);
    let done = tree.get("yolov5s", &ended_server());
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(done.stderr.contains("see to the network"), "{done:?}");
    assert_eq!(tree.models(), ["yolov5s.onnx.part"]);
}

#[test]
fn wget_does_where_curl_is_missing_and_a_word_where_both_are() {
    let tree = Tree::new();
    let neither = tree.get_by(&[], "yolov5s", &ended_server());
    assert_eq!(neither.status.code(), Some(1), "{neither:?}");
    assert!(
        neither.stderr.contains("apt-get install curl"),
        "{neither:?}"
    );
    if tool("wget").is_none() {
        return testkit::skip("wget is not installed");
    }

    let missing = Server::start(Answer::NotFound);
    let failed = tree.get_by(&["wget"], "yolov5s", &missing.url());
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert!(failed.stderr.contains("404"), "{failed:?}");
    assert!(tree.models().is_empty(), "{:?}", tree.models());

    let server = Server::start(Answer::Model);
    tree.put("yolov5s.onnx.part", &MODEL[..7]);
    let done = tree.get_by(&["wget"], "yolov5s", &server.url());
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    assert_eq!(server.asked(), [("/yolov5s.onnx".to_owned(), Some(7))]);
    tree.has_model("yolov5s");
}

#[test]
fn a_name_that_is_none_is_answered_with_the_names() {
    let tree = Tree::new();
    for name in ["yolov8n", "", "../yolov5n"] {
        let done = tree.get(name, &ended_server());
        assert_eq!(done.status.code(), Some(2), "{done:?}");
        assert!(done.stderr.contains("yolov5n yolov5s"), "{done:?}");
    }
    let help = tree.get("--help", &ended_server());
    assert_eq!(help.status.code(), Some(0), "{help:?}");
    assert!(help.stdout.contains("SIGHTLINE_MODEL_URL"), "{help:?}");
    assert!(!tree.0.path().join("models").exists());
}

/// A copy of the checkout, as far as the script needs one.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("scripts")).unwrap();
        let script = "scripts/get-model";
        fs::copy(testkit::repository().join(script), tree.path().join(script)).unwrap();
        Self(tree)
    }

    fn get(&self, model: &str, url: &str) -> Finished {
        self.run(model, url, &std::env::var("PATH").unwrap())
    }

    /// With no other downloaders than these.
    fn get_by(&self, downloaders: &[&str], model: &str, url: &str) -> Finished {
        let directory = tempfile::tempdir().unwrap();
        let always = [
            "bash",
            "cut",
            "dirname",
            "head",
            "mkdir",
            "mv",
            "od",
            "rm",
            "sha256sum",
            "stat",
        ];
        for name in always.iter().chain(downloaders) {
            symlink(tool(name).unwrap(), directory.path().join(name)).unwrap();
        }
        self.run(model, url, directory.path().to_str().unwrap())
    }

    fn run(&self, model: &str, url: &str, path: &str) -> Finished {
        Program::new(tool("bash").unwrap())
            .args([self.0.path().join("scripts/get-model")])
            .args([model])
            .env("SIGHTLINE_MODEL_URL", url)
            .env("PATH", path)
            .env("no_proxy", "127.0.0.1")
            .start()
            .finish()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        let models = self.0.path().join("models");
        fs::create_dir_all(&models).unwrap();
        fs::write(models.join(name), bytes).unwrap();
    }

    /// What is in `models`.
    fn models(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path().join("models")).unwrap();
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut names: Vec<String> = entries.map(|entry| name(entry.unwrap())).collect();
        names.sort();
        names
    }

    /// The model, the record of its checksum, and nothing else.
    fn has_model(&self, name: &str) {
        let [model, record] = [format!("{name}.onnx"), format!("{name}.onnx.sha256")];
        let models = self.0.path().join("models");
        assert_eq!(self.models(), [model.clone(), record.clone()]);
        assert_eq!(fs::read(models.join(&model)).unwrap(), MODEL);
        assert_eq!(
            fs::read_to_string(models.join(record)).unwrap(),
            format!("{}  {model}\n", sha256(MODEL))
        );
    }
}

/// Where a program is.
fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

fn sha256(bytes: &[u8]) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, bytes).unwrap();
    let output = Command::new("sha256sum").arg(file.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

/// Returns the URL of a server that has ended.
fn ended_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// What a server does with every request.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// The model, from any byte on.
    Model,
    /// The model, from its start whatever was asked for.
    WholeOnly,
    /// So many bytes of the model, and the end of the connection.
    Cut(usize),
    LoginPage,
    NotFound,
}

/// A web server; it ends with the tests.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// The path, and the byte to begin with.
type Asked = (String, Option<usize>);

impl Server {
    fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::default());
        let requests = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), answer, &requests);
            }
        });
        Self { url, asked }
    }

    /// With the slash that people add.
    fn url(&self) -> String {
        format!("{}/", self.url)
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, answer: Answer, asked: &Mutex<Vec<Asked>>) {
    let request = request(&stream);
    let from = request.1.filter(|_| matches!(answer, Answer::Model));
    asked.lock().unwrap().push(request);
    let all = MODEL.len();
    let (head, body) = match (answer, from) {
        (Answer::NotFound, _) => ("404 Not Found".to_owned(), &b"no such file"[..]),
        (Answer::LoginPage, _) => ("200 OK".to_owned(), &b"<!DOCTYPE html>"[..]),
        (_, None) => ("200 OK".to_owned(), MODEL),
        (_, Some(from)) if from >= all => (
            format!("416 Range Not Satisfiable\r\nContent-Range: bytes */{all}"),
            &b""[..],
        ),
        (_, Some(from)) => (
            format!(
                "206 Partial Content\r\nContent-Range: bytes {from}-{}/{all}",
                all - 1
            ),
            &MODEL[from..],
        ),
    };
    let length = body.len();
    let sent = match answer {
        Answer::Cut(bytes) => &body[..bytes],
        _ => body,
    };
    write!(
        stream,
        "HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    stream.write_all(sent).unwrap();
}

fn request(stream: &TcpStream) -> Asked {
    let lines: Vec<String> = BufReader::new(stream)
        .lines()
        .map(Result::unwrap)
        .take_while(|line| !line.is_empty())
        .collect();
    let path = lines[0].split(' ').nth(1).unwrap().to_owned();
    let from = lines.iter().find_map(|line| {
        let range = line.to_lowercase();
        let from = range.strip_prefix("range: bytes=")?.strip_suffix('-')?;
        from.parse().ok()
    });
    (path, from)
}
