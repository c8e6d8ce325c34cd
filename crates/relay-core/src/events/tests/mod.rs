//! The rules of events, each by name, in virtual time.

mod any_sequence;
mod cameras;
mod life;
mod zones;

use protocol::event::{EndReason, ObjectEvent, Phase};

use super::*;

/// Time between two frames.
const FRAME: Duration = Duration::from_millis(100);
/// Wall clock at the beginning, in milliseconds since the Unix epoch.
const BEGIN_MS: u64 = 1_763_820_000_000;

/// One camera whose tracker shows what the test puts into the picture.
struct Yard {
    events: Events,
    start: Instant,
    now: Instant,
    frames: u64,
    generation: u64,
    messages: Vec<EventMessage>,
    pictures: Vec<(EventId, BBox)>,
    random: u16,
    /// What is added to the random bits from one id to the next.
    random_step: u16,
    minute: u16,
    /// Frames from one inference to the next.
    every: u64,
    /// How far the wall clock was set back, in milliseconds.
    set_back: u64,
}

/// A box of a person whose foot is here.
fn at(x: f32, y: f32) -> BBox {
    BBox::new(x - 0.05, y - 0.3, x + 0.05, y)
}

fn track(id: u64, label: &str, bbox: BBox) -> Detection {
    Detection {
        id: Some(id),
        class: 0,
        label: label.to_owned(),
        score: 0.8,
        fading: false,
        bbox,
    }
}

fn person(id: u64, bbox: BBox) -> Detection {
    track(id, "person", bbox)
}

fn rules(change: impl FnOnce(&mut CameraSettings)) -> EventSettings {
    let mut settings = EventSettings::default();
    change(&mut settings.default);
    settings
}

impl Yard {
    fn new(settings: EventSettings) -> Self {
        let start = testkit::time::start();
        Self {
            events: Events::new(settings),
            start,
            now: start,
            frames: 0,
            generation: 1,
            messages: Vec::new(),
            pictures: Vec::new(),
            random: 0,
            random_step: 1,
            minute: 720,
            every: 4,
            set_back: 0,
        }
    }

    fn moment(&self) -> Moment {
        let since = self.now.saturating_duration_since(self.start);
        Moment {
            at: self.now,
            unix_ms: BEGIN_MS + since.as_millis() as u64 - self.set_back,
            minute: self.minute,
        }
    }

    fn act(&mut self, actions: Vec<EventAction>) {
        for action in actions {
            match action {
                EventAction::KeepPicture(id, bbox) => self.pictures.push((id, bbox)),
                EventAction::Publish(message) => self.messages.push(message),
            }
        }
    }

    /// The next frame shows these tracks.
    fn frame(&mut self, boxes: &[Detection]) {
        self.frame_of("yard", boxes, 1.0);
    }

    fn frame_of(&mut self, camera: &str, boxes: &[Detection], sharpness: f32) {
        self.now += FRAME;
        self.frames += 1;
        let answered = self.frames / self.every * self.every;
        let observation = Observation {
            camera: &camera.parse().unwrap(),
            tracker: TrackerState {
                generation: self.generation,
                answered: (answered > 0).then_some(answered),
            },
            boxes,
        };
        let now = self.moment();
        let mut random = || {
            self.random = self.random.wrapping_add(self.random_step);
            self.random
        };
        let mut sharp = |_| sharpness;
        let actions = self
            .events
            .observe(observation, &mut sharp, &mut random, now);
        self.act(actions);
    }

    /// For so long, frames show these tracks.
    fn show(&mut self, seconds: f32, boxes: &[Detection]) {
        self.show_moving(seconds, |_| boxes.to_vec());
    }

    /// The same, each frame with what is there by then; the argument is seconds since the first frame.
    fn show_moving(&mut self, seconds: f32, boxes: impl Fn(f32) -> Vec<Detection>) {
        for n in 0..(10.0 * seconds).round() as u32 {
            self.frame(&boxes(n as f32 / 10.0));
        }
    }

    /// For so long no frame comes.
    fn wait(&mut self, seconds: f32) {
        for _ in 0..(4.0 * seconds).round() as u32 {
            self.now += Duration::from_millis(250);
            let actions = self.events.tick(self.moment());
            self.act(actions);
        }
    }

    /// Returns the messages of objects since the last call.
    fn objects(&mut self) -> Vec<ObjectEvent> {
        let all = std::mem::take(&mut self.messages);
        let object = |message| match message {
            EventMessage::Object(event) => Some(event),
            EventMessage::Camera(_) => None,
        };
        all.into_iter().filter_map(object).collect()
    }

    fn phases(&mut self) -> Vec<Phase> {
        self.objects().iter().map(|event| event.phase).collect()
    }

    /// Returns the messages of cameras since the last call, as `NAME STATE`.
    fn camera_states(&mut self) -> Vec<String> {
        let all = std::mem::take(&mut self.messages);
        let state = |message| match message {
            EventMessage::Camera(event) => {
                Some(format!("{} {:?}", event.camera, event.state).to_lowercase())
            }
            EventMessage::Object(_) => None,
        };
        all.into_iter().filter_map(state).collect()
    }
}

/// Seconds from the beginning of the test to a time of a message.
fn since_begin(t: f64) -> f64 {
    t - BEGIN_MS as f64 / 1e3
}
