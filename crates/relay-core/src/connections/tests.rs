use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use std::time::Duration;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn host(n: u32) -> Host {
    IpAddr::from(Ipv4Addr::from_bits(0x0A00_0000 + n)).into()
}

fn start() -> Instant {
    testkit::time::start()
}

impl ConnectionTable {
    fn admit(&mut self, n: u32, now: Instant) -> ConnectionId {
        match self.open(host(n), now) {
            Opening::Admitted(id) => id,
            other => panic!("{other:?}"),
        }
    }

    /// Fills the table with settled connections of these hosts in turn.
    fn fill(&mut self, hosts: &[u32], standing: Standing, now: Instant) -> Vec<ConnectionId> {
        let count = self.capacity - self.len();
        let each = hosts.iter().cycle().take(count).map(|n| {
            let id = self.admit(*n, now);
            assert_eq!(self.set_standing(id, standing, now), Settlement::Kept);
            id
        });
        each.collect()
    }
}

#[test]
fn one_host_may_hold_all_slots_while_there_is_room() {
    let (mut table, now) = (ConnectionTable::new(8, 0), start());
    table.fill(&[1], Standing::Validated, now);
    assert_eq!(table.len(), 8);
    assert_eq!(table.open(host(1), now), Opening::Refused);
}

#[test]
fn a_full_table_gives_a_newcomer_the_youngest_slot_of_the_host_that_holds_most() {
    let (mut table, now) = (ConnectionTable::new(6, 0), start());
    let ids = table.fill(&[1, 1, 2], Standing::Validated, now);
    let Opening::AdmittedInPlaceOf(third, displaced) = table.open(host(3), now) else {
        panic!("refused")
    };
    assert_eq!(displaced, ids[4], "the youngest of the host with four");
    table.set_standing(third, Standing::Validated, now);
    // Three, two and one: a second one for the newcomer would leave the largest host with as many.
    let second = table.open(host(3), now);
    assert!(
        matches!(second, Opening::AdmittedInPlaceOf(_, id) if id == ids[3]),
        "{second:?}"
    );
    assert_eq!(table.open(host(3), now), Opening::Refused);
    assert_eq!(
        table.set_standing(displaced, Standing::Validated, now),
        Settlement::Refused
    );
}

#[test]
fn a_camera_that_is_known_for_a_minute_is_never_displaced() {
    let (mut table, now) = (ConnectionTable::new(4, 0), start());
    let ids = table.fill(&[1], Standing::Validated, now);
    ids.iter().for_each(|id| table.protect(*id, now));
    assert_eq!(
        table.open(host(2), now + ESTABLISHED_AFTER),
        Opening::Refused
    );
    let earlier = table.open(host(2), now + ESTABLISHED_AFTER - SECOND);
    assert!(
        matches!(earlier, Opening::AdmittedInPlaceOf(..)),
        "{earlier:?}"
    );
}

#[test]
fn a_connection_that_shows_nothing_gives_way_after_a_while() {
    let (mut table, now) = (ConnectionTable::new(4, 0), start());
    let silent = (1..=4).map(|n| table.admit(n, now)).collect::<Vec<_>>();
    table.set_standing(silent[0], Standing::Validated, now);
    assert_eq!(table.open(host(9), now + ARRIVAL / 2), Opening::Refused);
    let late = table.open(host(9), now + ARRIVAL);
    assert!(
        matches!(late, Opening::AdmittedInPlaceOf(_, id) if id == silent[1]),
        "{late:?}"
    );
}

#[test]
fn a_peer_with_a_ticket_gets_in_however_many_come_without() {
    let (mut table, now) = (ConnectionTable::new(16, 2), start());
    let mut kept = 0;
    for n in 0..100 {
        let (Opening::Admitted(id) | Opening::AdmittedInPlaceOf(id, _)) = table.open(host(n), now)
        else {
            continue;
        };
        kept += usize::from(table.set_standing(id, Standing::Validated, now) == Settlement::Kept);
    }
    assert_eq!(kept, 12, "without a ticket");
    for n in 200..214 {
        let id = table.admit(n, now);
        let settled = table.set_standing(id, Standing::Authenticated, now);
        assert_ne!(settled, Settlement::Refused, "{n}");
    }
    let late = table.admit(300, now);
    let settled = table.set_standing(late, Standing::Authenticated, now);
    assert_eq!(settled, Settlement::Refused, "all have one each");
    table.admit(301, now);
    table.admit(302, now);
    assert_eq!(
        table.open(host(303), now),
        Opening::Refused,
        "no ticket is displaced"
    );
}

#[test]
fn among_peers_with_tickets_too_the_host_that_holds_most_gives_way() {
    let (mut table, now) = (ConnectionTable::new(8, 1), start());
    let greedy: Vec<_> = (0..7)
        .map(|_| {
            let id = table.admit(1, now);
            table.set_standing(id, Standing::Authenticated, now);
            id
        })
        .collect();
    let id = table.admit(2, now);
    let settled = table.set_standing(id, Standing::Authenticated, now);
    assert_eq!(settled, Settlement::KeptInPlaceOf(greedy[6]));
}

#[test]
fn a_site_with_tickets_can_open_another_connection_while_strangers_flood() {
    let (mut table, now) = (ConnectionTable::new(16, 2), start());
    for _ in 0..10 {
        let id = table.admit(1, now);
        table.set_standing(id, Standing::Authenticated, now);
    }
    for n in 0..6 {
        table.open(host(2 + n % 3), now);
    }
    let opened = table.open(host(1), now);
    assert!(
        matches!(opened, Opening::AdmittedInPlaceOf(..)),
        "{opened:?}"
    );
}

#[test]
fn behind_a_proxy_the_clients_host_is_counted() {
    let (mut table, now) = (ConnectionTable::new(4, 0), start());
    let ids = table.fill(&[1], Standing::Validated, now);
    table.set_host(ids[0], host(2));
    let opened = table.open(host(3), now);
    assert!(
        matches!(opened, Opening::AdmittedInPlaceOf(_, id) if id == ids[3]),
        "{opened:?}"
    );
    ids.iter().for_each(|id| table.close(*id));
    assert_eq!(table.held.len(), 1);
}

/// What may happen to a table.
#[derive(Debug, Clone)]
enum Step {
    Open(u32),
    Settle(usize, bool),
    Protect(usize),
    SetHost(usize, u32),
    Close(usize),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0u32..6).prop_map(Step::Open),
        3 => (0usize..40, any::<bool>()).prop_map(|(n, ticket)| Step::Settle(n, ticket)),
        1 => (0usize..40).prop_map(Step::Protect),
        1 => (0usize..40, 0u32..6).prop_map(|(n, host)| Step::SetHost(n, host)),
        2 => (0usize..40).prop_map(Step::Close),
        1 => (0u64..40).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..200)
}

/// A table whose displaced connections are checked.
struct Checked {
    table: ConnectionTable,
    ids: Vec<ConnectionId>,
    now: Instant,
}

impl Checked {
    fn pick(&self, n: usize) -> Option<ConnectionId> {
        (!self.ids.is_empty()).then(|| self.ids[n % self.ids.len()])
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Open(n) => self.open(n),
            Step::Wait(seconds) => self.now += SECOND * u32::try_from(seconds).unwrap(),
            Step::Settle(n, _) | Step::Protect(n) | Step::SetHost(n, _) | Step::Close(n) => {
                if let Some(id) = self.pick(n) {
                    self.take_with(id, step);
                }
            }
        }
        self.check_bounds();
    }

    fn take_with(&mut self, id: ConnectionId, step: &Step) {
        match *step {
            Step::Settle(_, ticket) => self.settle(id, ticket),
            Step::Protect(_) => self.table.protect(id, self.now),
            Step::SetHost(_, to) => self.table.set_host(id, host(to)),
            _ => self.table.close(id),
        }
    }

    fn open(&mut self, n: u32) {
        let before: BTreeMap<_, _> = self.snapshot();
        match self.table.open(host(n), self.now) {
            Opening::Admitted(id) => self.ids.push(id),
            Opening::AdmittedInPlaceOf(id, displaced) => {
                let (standing, held, protected, overdue) = before[&displaced];
                assert!(standing != Standing::Authenticated && !protected);
                assert!(held > 1 || overdue, "a host's only connection");
                self.ids.push(id);
            }
            Opening::Refused => assert_eq!(before.len(), self.table.capacity),
        }
    }

    fn settle(&mut self, id: ConnectionId, ticket: bool) {
        let before = self.snapshot();
        let standing = match ticket {
            true => Standing::Authenticated,
            false => Standing::Validated,
        };
        if let Settlement::KeptInPlaceOf(displaced) =
            self.table.set_standing(id, standing, self.now)
        {
            let (theirs, held, protected, _) = before[&displaced];
            assert!(!protected && displaced != id);
            assert!(theirs < standing || held > 1, "a host's only connection");
            assert!(theirs <= standing);
        }
    }

    fn snapshot(&self) -> BTreeMap<ConnectionId, (Standing, usize, bool, bool)> {
        let entries = self.table.entries.iter().map(|(id, entry)| {
            let held = self.table.held(entry.host, entry.class());
            let overdue = entry.is_overdue(self.now);
            let protected = entry.is_protected(self.now);
            (*id, (entry.standing, held, protected, overdue))
        });
        entries.collect()
    }

    fn check_bounds(&self) {
        let table = &self.table;
        let of = |standing| {
            let all = table.entries.values();
            all.filter(|entry| entry.standing == standing).count()
        };
        let [arriving, validated, authenticated] = [
            Standing::Unvalidated,
            Standing::Validated,
            Standing::Authenticated,
        ]
        .map(of);
        assert_eq!(table.standings, [arriving, validated, authenticated]);
        assert!(table.len() <= table.capacity);
        assert!(validated + authenticated <= table.capacity - table.reserve);
        assert!(validated <= table.capacity - 2 * table.reserve);
        let mut held = HashMap::<_, [usize; 2]>::new();
        for entry in table.entries.values() {
            held.entry(entry.host).or_default()[entry.class()] += 1;
        }
        assert_eq!(held, table.held);
    }
}

proptest! {
    #[test]
    fn bounds_hold_and_nothing_is_left_behind_whatever_happens(
        steps in steps(), reserve in 0usize..3
    ) {
        let table = ConnectionTable::new(10, reserve);
        let mut checked = Checked { table, ids: Vec::new(), now: start() };
        steps.iter().for_each(|step| checked.take(step));
        checked.ids.iter().for_each(|id| checked.table.close(*id));
        prop_assert!(checked.table.is_empty() && checked.table.held.is_empty());
        prop_assert_eq!(checked.table.standings, [0; 3]);
    }

    #[test]
    fn an_honest_host_keeps_its_only_connection(steps in steps()) {
        let mut checked = Checked { table: ConnectionTable::new(6, 0), ids: Vec::new(), now: start() };
        let honest = checked.table.admit(99, checked.now);
        checked.table.set_standing(honest, Standing::Validated, checked.now);
        for step in &steps {
            checked.take(step);
            prop_assert!(checked.table.entries.contains_key(&honest));
        }
    }

    #[test]
    fn an_honest_host_gets_in_while_another_holds_more_than_one(steps in steps()) {
        let mut checked = Checked { table: ConnectionTable::new(8, 0), ids: Vec::new(), now: start() };
        steps.iter().filter(|step| !matches!(step, Step::Protect(_))).for_each(|step| checked.take(step));
        let unauthenticated = |held: &[usize; 2]| held[0] > 1;
        if checked.table.held.values().any(unauthenticated) || checked.table.len() < 8 {
            let opened = checked.table.open(host(99), checked.now);
            prop_assert!(opened != Opening::Refused);
        }
    }
}
