use std::path::Path;

use super::*;
use crate::outputs::fields::tests::{offline, start as started};
use crate::outputs::hub::OutputEvent;
use crate::outputs::queue::Queue;

const SOON: Duration = Duration::from_secs(20);
const MS: Duration = Duration::from_millis(1);

struct Hook {
    queue: EventQueue,
    stats: Arc<OutputStats>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn hook(command: &str, times: HookTimes) -> Hook {
    let stats = Arc::<OutputStats>::default();
    let queue = Queue::new(stats.clone());
    let stop = CancellationToken::new();
    let urls = PictureUrls::new(Some("http://nas:8080"), None);
    let command = command.parse().unwrap();
    let task = run(
        command,
        urls,
        times,
        queue.clone(),
        stats.clone(),
        stop.clone(),
    );
    Hook {
        queue,
        stats,
        stop,
        task: tokio::spawn(task),
    }
}

impl Hook {
    fn send(&self, message: EventMessage) {
        self.queue.push(Arc::new(OutputEvent {
            json: message.to_json().into(),
            message,
            picture: None,
        }));
    }

    fn lost(&self, why: &str) -> u64 {
        let lost = self.stats.snapshot().lost;
        lost.iter().find(|(name, _)| *name == why).unwrap().1
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let held = timeout(SOON, async {
        while !holds() {
            tokio::time::sleep(10 * MS).await;
        }
    });
    assert!(held.await.is_ok(), "{what}");
}

fn script(directory: &Path, text: &str) -> String {
    let file = directory.join("hook.sh");
    std::fs::write(&file, text).unwrap();
    format!("sh '{}'", file.display())
}

#[test]
fn a_command_is_split_into_words_and_no_shell_reads_it() {
    let command: HookCommand = "notify --title 'a person' \"$HOME\"".parse().unwrap();
    assert_eq!(command.program(), "notify");
    assert_eq!(command.arguments, ["--title", "a person", "$HOME"]);
    for wrong in ["", "  ", "notify 'open", "''"] {
        assert!(wrong.parse::<HookCommand>().is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_command_gets_the_event_in_its_environment_and_on_standard_input() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let text = format!(
        "{{ echo \"$SIGHTLINE_EVENT_TYPE $SIGHTLINE_EVENT_CAMERA $SIGHTLINE_EVENT_LABEL $SIGHTLINE_EVENT_SCORE\"
           echo \"$SIGHTLINE_EVENT_SNAPSHOT$SIGHTLINE_EVENT_STATE\"; cat; echo; }} >>'{}'",
        out.display()
    );
    let hook = hook(&script(directory.path(), &text), HookTimes::default());
    hook.send(started("yard", "person $(reboot)"));
    until("delivered", || hook.stats.snapshot().delivered == 1).await;
    hook.send(offline("yard"));
    until("delivered", || hook.stats.snapshot().delivered == 2).await;
    let text = std::fs::read_to_string(out).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "start yard person $(reboot) 87");
    let url = "http://nas:8080/events/1763820000.123-a1b2/snapshot.jpg";
    assert_eq!(lines[1], url);
    let message = EventMessage::parse(lines[2].as_bytes()).unwrap();
    assert!(matches!(message, EventMessage::Object(event) if event.snapshot == url));
    assert_eq!((lines[3].trim(), lines[4]), ("camera yard", "offline"));
}

/// Returns whether a process exists and is not a zombie.
fn runs(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    status.is_ok_and(|status| !status.contains(") Z "))
}

#[tokio::test]
async fn a_command_that_never_ends_is_ended_with_all_that_it_has_started() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let text = format!(
        "trap '' TERM; sleep 1000 & echo $! >>'{0}'; echo $$ >>'{0}'; wait; wait",
        pids.display()
    );
    let times = HookTimes {
        limit: 500 * MS,
        grace: 100 * MS,
    };
    let hook = hook(&script(directory.path(), &text), times);
    hook.send(started("yard", "person"));
    until("timed out", || hook.lost("timed_out") == 1).await;
    let pids = std::fs::read_to_string(pids).unwrap();
    assert_eq!(pids.lines().count(), 2);
    until("all ended", || !pids.lines().any(runs)).await;
    assert_eq!(hook.stats.snapshot().delivered, 0);
}

#[tokio::test]
async fn four_commands_run_at_a_time_and_the_others_wait() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "echo x >>'{0}/begun'; while ! [ -e '{0}/go' ]; do sleep 0.05; done",
        directory.path().display()
    );
    let hook = hook(&script(directory.path(), &text), HookTimes::default());
    for _ in 0..6 {
        hook.send(started("yard", "person"));
    }
    let begun = || {
        std::fs::read_to_string(directory.path().join("begun"))
            .map_or(0, |text| text.lines().count())
    };
    until("four began", || begun() == 4).await;
    // Both other events wait, and there is nothing to wait for that they do.
    tokio::time::sleep(100 * MS).await;
    assert_eq!((begun(), hook.stats.snapshot().waiting), (4, 2));
    std::fs::write(directory.path().join("go"), "").unwrap();
    until("all delivered", || hook.stats.snapshot().delivered == 6).await;
}

#[tokio::test]
async fn a_command_that_fails_or_is_missing_is_counted_and_the_next_event_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let failing = hook(
        &script(directory.path(), "echo no >&2; exit 3"),
        HookTimes::default(),
    );
    let missing = hook("/nonexistent/notify", HookTimes::default());
    for hook in [&failing, &missing] {
        hook.send(started("yard", "person"));
        hook.send(started("yard", "dog"));
        until("both counted", || hook.lost("failed") == 2).await;
    }
}

#[tokio::test]
async fn a_stop_waits_for_no_command_that_never_ends() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    let text = format!("echo $$ >'{}'; sleep 1000", pid.display());
    let hook = hook(&script(directory.path(), &text), HookTimes::default());
    hook.send(started("yard", "person"));
    until("begun", || {
        std::fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n'))
    })
    .await;
    hook.stop.cancel();
    timeout(SOON, hook.task).await.expect("it ends").unwrap();
    let pid = std::fs::read_to_string(pid).unwrap();
    until("killed", || !runs(&pid)).await;
}
