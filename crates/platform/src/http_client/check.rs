//! The doctors' check whether a relay that does not answer by UDP does by HTTP.

use std::io;

use super::{HttpClient, HttpFailure};
use crate::doctor::{Check, Report, Verdict};
use crate::server::Server;

/// Checks whether the relay answers by HTTP at `path`, which the program would use, and adds that to the report, behind the
/// `unanswered` checks by UDP, which are no problem where HTTP carries frames. Blocks until it is done.
///
/// # Errors
/// If the system gives no runtime.
pub fn check(
    server: &Server,
    path: &str,
    unanswered: Vec<Check>,
    report: &mut Report,
) -> io::Result<()> {
    if server.http_urls().is_empty() {
        report.extend(unanswered);
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let by_http = runtime.block_on(answer(server, path));
    // A DNS query may hang for longer than a user waits.
    runtime.shutdown_background();
    let works = by_http.verdict != Verdict::Bad;
    report.extend(unanswered.into_iter().map(|check| match works {
        true => no_problem(check),
        false => check,
    }));
    report.add(&by_http);
    Ok(())
}

/// Returns the check of something that HTTP takes the place of.
fn no_problem(check: Check) -> Check {
    match check.verdict {
        Verdict::Bad => Check::advice(check.about, check.text),
        Verdict::Good | Verdict::Advice => check,
    }
}

async fn answer(server: &Server, path: &str) -> Check {
    let client = match HttpClient::new(server) {
        Ok(client) => client,
        Err(err) => return Check::bad("http", format!("{err:#}")),
    };
    let mut reasons = Vec::new();
    for url in client.urls() {
        match client.get(url, path).await {
            Err(failure @ (HttpFailure::NoAnswer(_) | HttpFailure::NotARelay)) => {
                reasons.push(format!("{url}: {failure}"));
            }
            found => return judge(server, &url.to_string(), found.err()),
        }
    }
    Check::bad("http", unreachable(server, &reasons.join("; ")))
}

/// Returns the check of a relay that has answered: with `failure`, if it did not answer with success.
fn judge(server: &Server, url: &str, failure: Option<HttpFailure>) -> Check {
    let blocked = match server {
        Server::Url(_) => "frames go by HTTP",
        Server::Host(_) | Server::Ticket(_) => "UDP is blocked, and frames go by HTTP",
    };
    match failure {
        Some(HttpFailure::Refused(refusal)) => Check::bad("http", format!("{url}: {refusal}")),
        // To a request that is no WebSocket's the relay answers that it would take one; its other errors are of cameras.
        Some(_) | None => Check::good("http", format!("the relay answers at {url}: {blocked}")),
    }
}

fn unreachable(server: &Server, reasons: &str) -> String {
    let cure = match server {
        Server::Url(_) => {
            "check the URL, and that the relay runs with --http 0.0.0.0:8080 or behind a proxy with TLS"
        }
        Server::Ticket(_) => {
            "where UDP is blocked, a ticket needs a proxy with TLS for this name before the relay"
        }
        Server::Host(_) => {
            "where UDP is blocked, start the relay with --http 0.0.0.0:8080, or put a proxy with TLS before it"
        }
    };
    format!("no relay answers by HTTP ({reasons}): {cure}")
}

#[cfg(test)]
mod tests {
    use protocol::quic::Refusal;

    use super::*;

    fn server(text: &str) -> Server {
        text.parse().unwrap()
    }

    #[test]
    fn an_answer_is_good_and_a_refusal_is_bad() {
        let relay = server("relay.example");
        let upgrade = HttpFailure::Error("a WebSocket".to_owned());
        let good = judge(&relay, "http://relay.example:8080", Some(upgrade));
        assert_eq!(good.verdict, Verdict::Good);
        assert!(
            good.text.contains("UDP is blocked, and frames go by HTTP"),
            "{}",
            good.text
        );
        let taken = Some(HttpFailure::Refused(Refusal::Taken));
        assert_eq!(judge(&relay, "http://r:8080", taken).verdict, Verdict::Bad);
        let url = judge(&server("https://cam.example"), "https://cam.example", None);
        assert!(!url.text.contains("blocked"), "{}", url.text);
    }

    #[test]
    fn what_http_takes_the_place_of_is_no_problem() {
        assert_eq!(no_problem(Check::bad("udp", "x")).verdict, Verdict::Advice);
        assert_eq!(no_problem(Check::good("udp", "x")).verdict, Verdict::Good);
    }

    #[test]
    fn where_nothing_answers_the_cure_fits_what_was_named() {
        let words = |text: &str| unreachable(&server(text), "no answer");
        assert!(words("relay.example").contains("--http 0.0.0.0:8080"));
        assert!(words("https://cam.example").contains("check the URL"));
        let digits = "ab".repeat(32);
        let ticket = words(&format!("sightline://h?token={digits}#sha256={digits}"));
        assert!(ticket.contains("a proxy with TLS"), "{ticket}");
    }
}
