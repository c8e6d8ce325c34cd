//! The doctors' check whether the relay answers by HTTP.

use protocol::quic::Refusal;

use super::{HttpClient, HttpFailure};
use crate::doctor::Check;
use crate::server::Server;

/// Checks whether the relay answers by HTTP at `path`, which the program would use. `needed` if nothing leads to it by UDP,
/// so that the program would fall back to HTTP, or uses nothing else.
pub async fn check(server: &Server, path: &str, needed: bool) -> Option<Check> {
    let client = match HttpClient::new(server) {
        Ok(client) => client,
        Err(err) => return Some(Check::bad("http", format!("{err:#}"))),
    };
    let mut reasons = Vec::new();
    for url in client.urls() {
        match client.get(url, path).await {
            Err(failure @ (HttpFailure::NoAnswer(_) | HttpFailure::NotARelay)) => {
                reasons.push(format!("{url}: {failure}"));
            }
            found => return Some(judge(&url.to_string(), found.err(), needed)),
        }
    }
    needed.then(|| Check::bad("http", unreachable(server, &reasons.join("; "))))
}

/// Returns the check of a relay that has answered: with `failure`, if it did not answer with success.
fn judge(url: &str, failure: Option<HttpFailure>, needed: bool) -> Check {
    let role = match needed {
        true => "frames go by HTTP",
        false => "frames would go by HTTP where UDP is blocked",
    };
    match failure {
        Some(HttpFailure::Refused(Refusal::Private | Refusal::Token | Refusal::Role))
            if !needed =>
        {
            Check::advice("http", format!("{url} answers, and wants another ticket"))
        }
        Some(HttpFailure::Refused(refusal)) => Check::bad("http", format!("{url}: {refusal}")),
        // To a request that is no WebSocket's the relay answers that it would take one; its other errors are of cameras.
        Some(_) | None => Check::good("http", format!("{url} answers: {role}")),
    }
}

fn unreachable(server: &Server, reasons: &str) -> String {
    let cure = match server {
        Server::Url(_) => {
            "check the URL, and that the relay runs with --http 0.0.0.0:8080 or behind a proxy with TLS"
        }
        Server::Ticket(_) => {
            "with a ticket HTTP is used by TLS alone: put a proxy with TLS for this name before the relay, or permit UDP"
        }
        Server::Host(_) => {
            "start the relay with --http 0.0.0.0:8080, put a proxy with TLS before it, or permit UDP"
        }
    };
    format!("UDP is blocked, and no relay answers by HTTP ({reasons}): {cure}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    #[test]
    fn an_answer_is_good_and_a_refusal_is_bad_where_http_is_needed() {
        let upgrade = || Some(HttpFailure::Error("a WebSocket".to_owned()));
        let good = judge("https://cam.example", upgrade(), true);
        assert_eq!(good.verdict, Verdict::Good);
        assert!(good.text.contains("frames go by HTTP"), "{}", good.text);
        let taken = judge(
            "http://r:8080",
            Some(HttpFailure::Refused(Refusal::Taken)),
            true,
        );
        assert_eq!(taken.verdict, Verdict::Bad);
        let private = || Some(HttpFailure::Refused(Refusal::Private));
        assert_eq!(
            judge("http://r:8080", private(), true).verdict,
            Verdict::Bad
        );
        assert_eq!(
            judge("http://r:8080", private(), false).verdict,
            Verdict::Advice
        );
    }

    #[test]
    fn where_nothing_answers_the_cure_fits_what_was_named() {
        let words = |text: &str| unreachable(&text.parse().unwrap(), "no answer");
        assert!(words("relay.example").contains("--http 0.0.0.0:8080"));
        assert!(words("https://cam.example").contains("check the URL"));
        let digits = "ab".repeat(32);
        let ticket = words(&format!("sightline://h?token={digits}#sha256={digits}"));
        assert!(ticket.contains("by TLS alone"), "{ticket}");
    }
}
