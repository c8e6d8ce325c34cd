//! What waits for the broker, and in which order it is sent. Pure.
//!
//! - **Events** are a bounded queue; each waits until the broker has acknowledged it, and goes again over the next
//!   connection if the last one ended before that. So a receiver may see one twice, and none is lost in silence.
//! - **State** is one value a topic, retained by the broker: a newer value takes the place of one that was not sent. After a
//!   reconnection all of it is sent anew, since the broker may have lost it.
//! - **Pictures** are state that is sent once and not kept here, so that memory does not grow with the labels.
//!
//! At most [`WINDOW`] messages are on the way at a time, so a slow broker costs no more than these.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::outputs::queue::MAX_WAITING;

/// Messages that are sent and not acknowledged.
pub const WINDOW: usize = 16;
/// Bytes of pictures that wait or are on the way.
const MAX_PICTURES: usize = 16 << 20;

/// A message for the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its content.
    pub payload: Bytes,
    /// Whether the broker keeps it for later subscribers.
    pub retain: bool,
}

/// Number of a message that is on the way; they ascend in the order of sending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(u64);

/// All that waits for the broker.
#[derive(Debug, Default)]
pub struct Outbox {
    events: VecDeque<Message>,
    state: BTreeMap<String, Slot>,
    /// Topics whose value is to be sent, in order.
    due: VecDeque<String>,
    on_the_way: BTreeMap<Token, OnTheWay>,
    sent: u64,
}

#[derive(Debug)]
struct Slot {
    /// `None` if it is a picture that was sent.
    value: Option<Bytes>,
    kind: Kind,
    /// Whether the topic is among those that are due.
    is_due: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Sent again after a reconnection.
    Kept,
    /// Sent once.
    Picture,
    /// The last value of a topic that is given up.
    Last,
}

#[derive(Debug)]
enum OnTheWay {
    Event(Message),
    State(String, Bytes, Kind),
}

impl Outbox {
    /// Adds an event. Returns how many others, the oldest, were lost for it.
    pub fn add_event(&mut self, message: Message) -> u64 {
        let lost = self.events.len() >= MAX_WAITING;
        if lost {
            self.events.pop_front();
        }
        self.events.push_back(message);
        u64::from(lost)
    }

    /// Sets the value of a topic; one that it has already is not sent again.
    pub fn set(&mut self, topic: String, value: impl Into<Bytes>) {
        let value = value.into();
        let same = |slot: &Slot| slot.kind == Kind::Kept && slot.value.as_ref() == Some(&value);
        if !self.state.get(&topic).is_some_and(same) {
            self.put(topic, value, Kind::Kept);
        }
    }

    /// Sets the picture of a topic. Returns whether there was room for it.
    pub fn set_picture(&mut self, topic: String, jpeg: Bytes) -> bool {
        let of_topic = |slot: &Slot| slot.value.as_ref().map_or(0, Bytes::len);
        let replaced = self.state.get(&topic).map_or(0, of_topic);
        let room = self.picture_bytes() - replaced + jpeg.len() <= MAX_PICTURES;
        if room {
            self.put(topic, jpeg, Kind::Picture);
        }
        room
    }

    /// Removes the retained value of a topic from the broker.
    pub fn clear(&mut self, topic: String) {
        self.put(topic, Bytes::new(), Kind::Last);
    }

    /// Returns the next message to send, if one is due and not too many are on the way.
    pub fn next_message(&mut self) -> Option<(Token, Message)> {
        if self.on_the_way.len() >= WINDOW {
            return None;
        }
        let (message, way) = match self.events.pop_front() {
            Some(message) => (message.clone(), OnTheWay::Event(message)),
            None => self.next_state()?,
        };
        self.sent += 1;
        let token = Token(self.sent);
        self.on_the_way.insert(token, way);
        Some((token, message))
    }

    /// Notes that the broker has acknowledged a message. Returns whether it was an event.
    pub fn on_acknowledged(&mut self, token: Token) -> bool {
        matches!(self.on_the_way.remove(&token), Some(OnTheWay::Event(_)))
    }

    /// Notes that the connection has ended: what was not acknowledged is due again, and so is all state.
    pub fn on_disconnected(&mut self) {
        for (_, way) in std::mem::take(&mut self.on_the_way).into_iter().rev() {
            match way {
                OnTheWay::Event(message) => self.events.push_front(message),
                OnTheWay::State(topic, value, kind) if kind != Kind::Kept => {
                    // A newer picture waits already.
                    if self
                        .state
                        .get(&topic)
                        .is_none_or(|slot| slot.value.is_none())
                    {
                        self.put(topic, value, kind);
                    }
                }
                OnTheWay::State(..) => {}
            }
        }
        let kept = self
            .state
            .iter_mut()
            .filter(|(_, slot)| slot.value.is_some() && !slot.is_due);
        for (topic, slot) in kept {
            slot.is_due = true;
            self.due.push_back(topic.clone());
        }
    }

    /// Returns the number of events that the broker has not acknowledged.
    pub fn events(&self) -> usize {
        let event = |way: &&OnTheWay| matches!(way, OnTheWay::Event(_));
        self.events.len() + self.on_the_way.values().filter(event).count()
    }

    /// Returns whether nothing waits and nothing is on the way.
    pub fn is_done(&self) -> bool {
        self.events.is_empty() && self.due.is_empty() && self.on_the_way.is_empty()
    }

    fn put(&mut self, topic: String, value: Bytes, kind: Kind) {
        let slot = self.state.entry(topic.clone()).or_insert(Slot {
            value: None,
            kind,
            is_due: false,
        });
        slot.value = Some(value);
        slot.kind = kind;
        if !std::mem::replace(&mut slot.is_due, true) {
            self.due.push_back(topic);
        }
    }

    fn next_state(&mut self) -> Option<(Message, OnTheWay)> {
        let topic = self.due.pop_front()?;
        let slot = self.state.get_mut(&topic)?;
        slot.is_due = false;
        let kind = slot.kind;
        let value = match kind {
            Kind::Kept => slot.value.clone(),
            Kind::Picture => slot.value.take(),
            Kind::Last => self.state.remove(&topic).and_then(|slot| slot.value),
        }?;
        let message = Message {
            topic: topic.clone(),
            payload: value.clone(),
            retain: true,
        };
        Some((message, OnTheWay::State(topic, value, kind)))
    }

    fn picture_bytes(&self) -> usize {
        let waiting = self
            .state
            .values()
            .filter(|slot| slot.kind == Kind::Picture);
        let waiting = waiting
            .filter_map(|slot| slot.value.as_ref())
            .map(Bytes::len);
        let sent = self.on_the_way.values().map(|way| match way {
            OnTheWay::State(_, value, Kind::Picture) => value.len(),
            _ => 0,
        });
        waiting.chain(sent).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize) -> Message {
        Message {
            topic: "events".to_owned(),
            payload: n.to_string().into(),
            retain: false,
        }
    }

    /// Sends all that may be sent; returns tokens and `topic=payload`.
    fn drain(outbox: &mut Outbox) -> Vec<(Token, String)> {
        std::iter::from_fn(|| outbox.next_message())
            .map(|(token, message)| {
                let payload = String::from_utf8_lossy(&message.payload).into_owned();
                (token, format!("{}={payload}", message.topic))
            })
            .collect()
    }

    fn texts(sent: &[(Token, String)]) -> Vec<&str> {
        sent.iter().map(|(_, text)| text.as_str()).collect()
    }

    fn acknowledge(outbox: &mut Outbox, sent: &[(Token, String)]) {
        for (token, _) in sent {
            outbox.on_acknowledged(*token);
        }
    }

    #[test]
    fn events_go_first_and_state_is_the_newest_value_of_each_topic() {
        let mut outbox = Outbox::default();
        outbox.set("fps".to_owned(), "1");
        outbox.set("age".to_owned(), "7");
        outbox.set("fps".to_owned(), "2");
        outbox.add_event(event(1));
        let sent = drain(&mut outbox);
        assert_eq!(texts(&sent), ["events=1", "fps=2", "age=7"]);
        acknowledge(&mut outbox, &sent);
        outbox.set("fps".to_owned(), "2");
        assert!(outbox.is_done(), "the same value is not sent again");
    }

    #[test]
    fn what_was_not_acknowledged_goes_again_in_order_and_so_does_all_state() {
        let mut outbox = Outbox::default();
        outbox.set("fps".to_owned(), "1");
        for n in 1..=3 {
            outbox.add_event(event(n));
        }
        let sent = drain(&mut outbox);
        assert!(outbox.on_acknowledged(sent[0].0), "an event");
        assert!(!outbox.on_acknowledged(sent[3].0), "state");
        outbox.add_event(event(4));
        assert_eq!(outbox.events(), 3);
        outbox.on_disconnected();
        let again = drain(&mut outbox);
        assert_eq!(texts(&again), ["events=2", "events=3", "events=4", "fps=1"]);
        acknowledge(&mut outbox, &again);
        assert!(outbox.is_done());
    }

    #[test]
    fn a_slow_broker_has_a_window_of_messages_and_no_more() {
        let mut outbox = Outbox::default();
        for n in 0..100 {
            outbox.add_event(event(n));
        }
        let sent = drain(&mut outbox);
        assert_eq!(sent.len(), WINDOW);
        outbox.on_acknowledged(sent[5].0);
        assert_eq!(texts(&drain(&mut outbox)), ["events=16"]);
    }

    #[test]
    fn too_many_events_cost_the_oldest_ones_and_are_counted() {
        let mut outbox = Outbox::default();
        let lost: u64 = (0..MAX_WAITING + 3)
            .map(|n| outbox.add_event(event(n)))
            .sum();
        assert_eq!(lost, 3);
        assert_eq!(texts(&drain(&mut outbox))[0], "events=3");
    }

    #[test]
    fn a_picture_is_sent_once_and_again_only_if_it_was_not_acknowledged() {
        let mut outbox = Outbox::default();
        assert!(outbox.set_picture("picture".to_owned(), "a".into()));
        assert!(outbox.set_picture("picture".to_owned(), "b".into()));
        let sent = drain(&mut outbox);
        assert_eq!(texts(&sent), ["picture=b"]);
        outbox.on_disconnected();
        let again = drain(&mut outbox);
        assert_eq!(texts(&again), ["picture=b"]);
        assert!(outbox.set_picture("picture".to_owned(), "c".into()));
        outbox.on_disconnected();
        let newer = drain(&mut outbox);
        assert_eq!(texts(&newer), ["picture=c"], "and not the older one too");
        acknowledge(&mut outbox, &newer);
        outbox.on_disconnected();
        assert!(outbox.is_done(), "it is not kept");
    }

    #[test]
    fn pictures_have_a_bound_in_bytes_that_frees_itself() {
        let mut outbox = Outbox::default();
        let picture = Bytes::from(vec![0; MAX_PICTURES / 4]);
        let name = |n: usize| n.to_string();
        for n in 0..4 {
            assert!(outbox.set_picture(name(n), picture.clone()));
        }
        assert!(
            outbox.set_picture(name(0), picture.clone()),
            "it takes the older one's room"
        );
        assert!(!outbox.set_picture(name(4), picture.clone()));
        let sent = drain(&mut outbox);
        assert!(
            !outbox.set_picture(name(4), picture.clone()),
            "they are on the way"
        );
        acknowledge(&mut outbox, &sent);
        assert!(outbox.set_picture(name(4), picture));
    }

    #[test]
    fn a_topic_that_is_given_up_is_cleared_at_the_broker_also_over_the_next_connection() {
        let mut outbox = Outbox::default();
        outbox.set("old".to_owned(), "1");
        let sent = drain(&mut outbox);
        acknowledge(&mut outbox, &sent);
        outbox.clear("old".to_owned());
        assert_eq!(texts(&drain(&mut outbox)), ["old="]);
        outbox.on_disconnected();
        let again = drain(&mut outbox);
        assert_eq!(texts(&again), ["old="]);
        acknowledge(&mut outbox, &again);
        outbox.on_disconnected();
        assert!(outbox.is_done());
    }
}
