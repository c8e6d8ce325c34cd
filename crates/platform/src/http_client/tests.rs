use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;

use super::*;

/// Answers each request with the next of these texts, and returns the URL and the requests.
fn server(answers: &'static [&'static str]) -> (String, thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let serve = move || {
        answers
            .iter()
            .map(|answer| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8_lossy(&request[..length]).to_lowercase()
            })
            .collect()
    };
    (url, thread::spawn(serve))
}

async fn open(url: &str) -> Result<HttpSession, HttpFailure> {
    let mut client = HttpClient::new(&url.parse().unwrap()).unwrap();
    let path = camera_path(&"front yard".parse().unwrap(), "publish");
    client
        .open(&path, &[("sightline-stream", "07".to_owned())])
        .await
}

#[tokio::test]
async fn an_answer_without_the_header_is_no_relays() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 301 Moved\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nsightline: 1\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: x\r\n\r\n",
    ] {
        let answer: &'static str = answer;
        let (url, requests) = server(Box::leak(Box::new([answer])));
        let failure = open(&url).await.unwrap_err();
        assert!(
            failure.to_string().contains("not a Sightline relay"),
            "{failure}"
        );
        let request = requests.join().unwrap().remove(0);
        assert!(
            request.starts_with("get /cam/front%20yard/publish "),
            "{request}"
        );
        assert!(request.contains("sightline-stream: 07"), "{request}");
    }
}

#[tokio::test]
async fn a_refusal_is_told_by_its_name_and_another_error_by_its_message() {
    let (url, _) = server(&[
        "HTTP/1.1 409 Conflict\r\nsightline: 1\r\ncontent-length: 31\r\n\r\n{\"error\":\"taken\",\"message\":\"m\"}",
    ]);
    assert_eq!(
        open(&url).await.unwrap_err(),
        HttpFailure::Refused(Refusal::Taken)
    );
    let (url, _) = server(&[
        "HTTP/1.1 503 No\r\nsightline: 1\r\ncontent-length: 17\r\n\r\nloading\u{1b}[2J model",
    ]);
    let failure = open(&url).await.unwrap_err().to_string();
    assert!(
        failure.contains("loading") && !failure.contains('\u{1b}'),
        "{failure}"
    );
}

#[tokio::test]
async fn the_token_of_a_url_is_the_bearer() {
    let token = "ab".repeat(32);
    let (url, requests) = server(&["HTTP/1.1 404 No\r\nsightline: 1\r\ncontent-length: 0\r\n\r\n"]);
    open(&format!("{url}?token={token}")).await.unwrap_err();
    let request = requests.join().unwrap().remove(0);
    assert!(
        request.contains(&format!("authorization: bearer {token}")),
        "{request}"
    );
    assert!(!request.contains("?token"), "{request}");
}

#[tokio::test]
async fn a_port_without_a_server_is_named() {
    let failure = open("http://127.0.0.1:1").await.unwrap_err().to_string();
    assert!(
        failure.contains("http://127.0.0.1:1") && failure.contains("refused"),
        "{failure}"
    );
}

#[test]
fn of_a_relays_list_only_names_are_kept() {
    let list = br#"[{"name":"yard","live":true,"fps":10},{"name":"\u001b","live":true},{"name":"drive","live":false}]"#;
    let names: Vec<_> = parse_cameras(list)
        .unwrap()
        .iter()
        .map(|camera| (camera.name.to_string(), camera.live))
        .collect();
    assert_eq!(
        names,
        [("yard".to_owned(), true), ("drive".to_owned(), false)]
    );
    assert_eq!(parse_cameras(b"{}"), None);
}
