use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::time::{Duration, Instant};

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

/// Opens a private relay's access; returns it with the tokens that it made, the sender's first.
pub(crate) fn private(state: &Path) -> (Arc<Access>, Vec<String>) {
    let (access, made) = Access::open(Some(state), true, false).unwrap();
    let tokens = made.iter().map(|made| made.token.to_string()).collect();
    (Arc::new(access), tokens)
}

/// Opens an open relay's access.
pub(crate) fn open() -> Arc<Access> {
    Arc::new(Access::open(None, false, false).unwrap().0)
}

fn rotated(state: &Path) -> Vec<MadeTicket> {
    Access::open(Some(state), true, true).unwrap().1
}

fn view(access: &Access, token: &str) -> Result<Grant, Refusal> {
    access.check_token(Role::View, None, Some(token))
}

fn add(state: &Path, name: &str, role: Role, camera: Option<&str>) -> String {
    let store = Store::create(state).unwrap();
    let camera = camera.map(|camera| camera.parse().unwrap());
    let (made, stored) = MadeTicket::new(name.parse().unwrap(), role, camera).unwrap();
    store.change(|tickets| Ok(tickets.add(stored)?)).unwrap();
    made.token.to_string()
}

fn revoke(state: &Path, name: &str) {
    let store = Store::create(state).unwrap();
    let name = name.parse().unwrap();
    let removed = store.change(|tickets| Ok(tickets.remove(&name)));
    assert!(removed.unwrap().is_some());
}

#[test]
fn the_first_start_makes_a_ticket_for_each_role_and_no_later_one_does() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().join("deep/in");
    let (first, tokens) = private(&state);
    assert_eq!(tokens.len(), 2);
    let (again, none) = private(&state);
    assert!(none.is_empty());
    assert_eq!(again.identity.fingerprint(), first.identity.fingerprint());
    let send = again.check_token(Role::Send, None, Some(&tokens[0]));
    assert!(send.is_ok() && view(&again, &tokens[1]).is_ok());
    for name in ["sender", "viewer"] {
        revoke(&state, name);
    }
    assert!(private(&state).1.is_empty(), "the operator revoked them");
}

#[test]
fn a_rotation_voids_all_tickets_and_makes_two() {
    let state = tempfile::tempdir().unwrap();
    let (first, tokens) = private(state.path());
    let anna = add(state.path(), "anna", Role::View, None);
    assert_eq!(rotated(state.path()).len(), 2);
    let (access, _) = private(state.path());
    assert_ne!(access.identity.fingerprint(), first.identity.fingerprint());
    for old in [&tokens[1], &anna] {
        assert_eq!(view(&access, old), Err(Refusal::Token));
    }
}

#[test]
fn no_other_user_can_read_them_and_no_file_holds_a_token() {
    let state = tempfile::tempdir().unwrap();
    let state = state.path().join("state");
    let (access, tokens) = private(&state);
    let _session = access.session(&view(&access, &tokens[1]).unwrap(), HERE);
    access.close();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&state), 0o700);
    let files: Vec<_> = fs::read_dir(&state)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    assert_eq!(files.len(), 3);
    for file in files {
        assert_eq!(mode(&file), 0o600);
        let content = fs::read(&file).unwrap();
        let content = String::from_utf8_lossy(&content);
        assert!(tokens.iter().all(|token| !content.contains(token)));
    }
}

#[test]
fn token_files_of_version_0_1_become_tickets_once_and_stay_valid() {
    let state = tempfile::tempdir().unwrap();
    let [send, view_token] = ["1", "2"].map(|digit| digit.repeat(64));
    fs::write(state.path().join("sender.token"), format!("{send}\n")).unwrap();
    fs::write(state.path().join("viewer.token"), format!("{view_token}\n")).unwrap();
    for _ in 0..2 {
        let (access, made) = private(state.path());
        assert!(made.is_empty(), "nothing new was needed");
        assert!(access.check_token(Role::Send, None, Some(&send)).is_ok());
        assert!(view(&access, &view_token).is_ok());
        assert_eq!(access.ticket_count(), Some(2));
        assert!(!state.path().join("sender.token").exists());
        assert!(!state.path().join("viewer.token").exists());
    }
    // As a downgrade for a day leaves it.
    let other = "3".repeat(64);
    fs::write(state.path().join("viewer.token"), &other).unwrap();
    let (access, _) = private(state.path());
    assert!(view(&access, &view_token).is_ok() && view(&access, &other).is_ok());
    revoke(state.path(), "viewer-2");
}

#[test]
fn an_open_relay_lets_in_all_and_needs_no_place_to_keep_anything() {
    let access = open();
    let hello = Hello {
        role: Role::View,
        camera: None,
        token: Some("x".to_owned()),
        stream: None,
        cookie: None,
        trial: None,
        original: false,
    };
    assert_eq!(access.check(&hello), Ok(Grant::default()));
    assert!(!access.is_private() && access.ticket_count().is_none());
    assert!(access.check_cookie("x").is_none() && access.cookie_name().is_none());
    let why = Access::open(None, true, false).unwrap_err();
    assert!(format!("{why:#}").contains("--state DIR"));
}

#[tokio::test]
async fn a_change_of_the_file_is_in_force_and_a_revoked_tickets_sessions_end() {
    let state = tempfile::tempdir().unwrap();
    let (access, tokens) = private(state.path());
    let viewers = access.session(&view(&access, &tokens[1]).unwrap(), HERE);
    let anna = add(state.path(), "anna", Role::View, Some("yard"));
    assert_eq!(view(&access, &anna), Err(Refusal::Token), "not read yet");
    access.check_files(Instant::now());
    let grant = view(&access, &anna).unwrap();
    assert!(grant.covers("yard") && !grant.covers("drive"));
    let annas = access.session(&grant, HERE);
    let cookie = access.issue_cookie(&grant).unwrap();
    assert_eq!(access.check_cookie(&cookie).unwrap().grant, grant);
    revoke(state.path(), "anna");
    access.check_files(Instant::now());
    assert!(access.check_cookie(&cookie).is_none());
    let soon = Duration::from_secs(5);
    let ended = tokio::time::timeout(soon, annas.ended()).await;
    assert!(ended.is_ok());
    let others = tokio::time::timeout(Duration::from_millis(20), viewers.ended()).await;
    assert!(others.is_err(), "for that ticket alone");
}

#[test]
fn a_damaged_file_changes_nothing_while_the_relay_runs_and_a_removed_one_revokes_all() {
    let state = tempfile::tempdir().unwrap();
    let (access, tokens) = private(state.path());
    let file = state.path().join("tickets");
    let good = fs::read(&file).unwrap();
    for damaged in [&b""[..], b"{\"tickets\":9}\n", &good[..good.len() - 9]] {
        fs::write(&file, damaged).unwrap();
        access.check_files(Instant::now());
        assert!(view(&access, &tokens[1]).is_ok());
        let why = refused(state.path());
        assert!(why.contains("tickets is damaged"), "{why}");
        assert!(examine(state.path()).is_err());
    }
    fs::remove_file(&file).unwrap();
    access.check_files(Instant::now());
    assert_eq!(view(&access, &tokens[1]), Err(Refusal::Token));
}

#[test]
fn the_last_use_is_written_once_a_minute_and_outlives_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let (access, tokens) = private(state.path());
    let grant = view(&access, &tokens[1]).unwrap();
    let file = state.path().join("tickets.used");
    let start = Instant::now();
    access.check_files(start);
    assert!(!file.exists(), "there was none");
    drop(access.session(&grant, HERE));
    access.check_files(start);
    let first = fs::read(&file).unwrap();
    drop(access.session(&grant, IpAddr::V4(Ipv4Addr::LOCALHOST)));
    access.check_files(start + Duration::from_secs(59));
    assert_eq!(fs::read(&file).unwrap(), first);
    access.check_files(start + Duration::from_secs(60));
    assert_ne!(fs::read(&file).unwrap(), first);
    drop(access);
    let uses = Store::create(state.path()).unwrap().uses();
    let last = uses.last(grant.ticket.unwrap()).unwrap();
    assert_eq!(last.address, IpAddr::V4(Ipv4Addr::LOCALHOST));
}

fn refused(state: &Path) -> String {
    format!("{:#}", Access::open(Some(state), true, false).unwrap_err())
}

#[test]
fn a_damaged_token_is_named_and_its_removal_keeps_all_other_tickets() {
    let state = tempfile::tempdir().unwrap();
    let (_, tokens) = private(state.path());
    let file = state.path().join("viewer.token");
    fs::write(&file, "12").unwrap();
    let why = refused(state.path());
    for part in [
        "viewer.token does not hold a token",
        "remove this file alone",
        "a new ticket for viewers",
        "those of senders stay valid",
    ] {
        assert!(why.contains(part), "{why}");
    }
    assert!(
        !why.contains("needs a directory") && !why.contains("--rotate"),
        "{why}"
    );
    fs::remove_file(&file).unwrap();
    let (access, made) = private(state.path());
    assert!(made.is_empty() && view(&access, &tokens[1]).is_ok());
}

#[test]
fn a_damaged_certificate_is_named() {
    let state = tempfile::tempdir().unwrap();
    private(state.path());
    let file = state.path().join("identity");
    let whole = fs::read(&file).unwrap();
    let mut other_key = whole.clone();
    *other_key.last_mut().unwrap() ^= 1;
    for damaged in [&b""[..], b"\0\x02ab", &whole[..whole.len() - 1], &other_key] {
        fs::write(&file, damaged).unwrap();
        let why = refused(state.path());
        assert!(why.contains("identity is damaged"), "{why}");
        assert!(examine(state.path()).is_err());
    }
}

#[test]
fn what_another_user_prepared_is_refused_and_modes_of_ours_are_repaired() {
    let state = tempfile::tempdir().unwrap();
    private(state.path());
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let tickets = state.path().join("tickets");
    set_mode(state.path(), 0o777);
    set_mode(&tickets, 0o644);
    assert!(private(state.path()).1.is_empty());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(state.path()), mode(&tickets)), (0o755, 0o600));
    let aside = state.path().join("aside");
    fs::rename(&tickets, &aside).unwrap();
    symlink(&aside, &tickets).unwrap();
    let why = refused(state.path());
    assert!(why.contains("tickets: it is a symbolic link"), "{why}");
    if chown(state.path(), Some(12345), None).is_ok() {
        let why = refused(state.path());
        assert!(why.contains("--state") && why.contains("12345"), "{why}");
    }
}

#[test]
fn relays_that_start_together_agree() {
    let state = tempfile::tempdir().unwrap();
    let started: Vec<_> = std::thread::scope(|scope| {
        let relays: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| private(state.path())))
            .collect();
        relays
            .into_iter()
            .map(|relay| relay.join().unwrap())
            .collect()
    });
    let makers = started.iter().filter(|(_, tokens)| !tokens.is_empty());
    let [(_, tokens)] = makers.collect::<Vec<_>>()[..] else {
        panic!("one of them makes the tickets");
    };
    for (access, _) in &started {
        assert_eq!(
            access.identity.fingerprint(),
            started[0].0.identity.fingerprint()
        );
        assert!(view(access, &tokens[1]).is_ok());
    }
}
