//! The command line of `relay-server`.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::error::ErrorKind;
use clap::{Parser, ValueEnum};
use platform::config::{self, Common};
use protocol::RELAY_PORT;
use protocol::every::Every;
use protocol::geometry::Size;
use protocol::ticket::{BadHost, Host};

use crate::camera_tables::CameraTables;
use crate::live_settings::LiveSettings;
use crate::outputs::hook::HookCommand;
use crate::outputs::mqtt::broker::BrokerUrl;
use crate::outputs::plan::{self, HttpUrl};
use crate::outputs::webhook::WebhookUrl;
use crate::transport::http::{Listen, Origin, ProxyNetwork};
use relay_core::Overlay;
use vision::detect::provider;

/// Frames in, frames and boxes out: forwards a camera's frames to its viewers, every Nth through a YOLO model
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(name = "relay-server", version)]
#[command(
    override_usage = "relay-server [doctor] [OPTIONS]\n       relay-server ticket add|list|revoke .."
)]
pub struct Args {
    /// UDP address for senders and viewers
    #[arg(long, value_name = "ADDR", default_value = "0.0.0.0:8081", value_parser = listen)]
    pub listen: SocketAddr,
    /// Which frames go to the model: of each N the last, or as many as the model keeps up with
    #[arg(long, value_name = "N|auto", default_value = "4")]
    pub every: Every,
    /// Model that finds objects: an ONNX export of YOLOv5, v8 to v12 or 26, the demo scene's own small model, or none;
    /// without this flag models/yolov5n.onnx if present, else demo
    #[arg(long, value_name = "demo|none|FILE.onnx")]
    pub model: Option<ModelChoice>,
    /// Share of this machine's processors that the model may use with --every auto
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, value_parser = share)]
    pub model_cpu: f64,
    /// Lowest score of a box
    #[arg(long, value_name = "SCORE", default_value_t = 0.25, value_parser = fraction)]
    pub conf: f32,
    /// Lowest score at which the tracker starts to follow an object; it goes on at scores from --conf
    #[arg(long, value_name = "SCORE", default_value_t = 0.40, value_parser = fraction)]
    pub track_start: f32,
    /// Highest overlap of two boxes of a class
    #[arg(long, value_name = "IOU", default_value_t = 0.45, value_parser = fraction)]
    pub iou: f32,
    /// Names or numbers of the classes to report, separated by commas; without this flag all
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub classes: Vec<String>,
    /// Input size of a network that leaves it free; auto: 1.6 times the frame, up to 640, as 480x320 for
    /// 300x200, which finds most; 320x224 takes half its time
    #[arg(long, value_name = "auto|WxH", default_value = "auto")]
    pub net_size: NetSize,
    /// Execution provider of the model: auto takes the best one of the library that works with the model and is faster
    /// than the processor; with any other the program ends if it is missing, and names what is missing
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub provider: ProviderChoice,
    /// Threads of one inference; without this flag all processors but one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: Option<u16>,
    /// ONNX Runtime's shared library; without this flag the program searches where scripts/setup and packages install it
    #[arg(long, value_name = "FILE")]
    pub onnxruntime: Option<PathBuf>,
    /// Which frames UDP viewers see with boxes drawn in: each inferred one, all of them, or none
    #[arg(long, value_name = "HOW", default_value = "every-nth", value_parser = PossibleValuesParser::new(Overlay::ALL.map(Overlay::name)).try_map(|name| name.parse::<Overlay>()))]
    pub overlay: Overlay,
    /// Append the model's detections to this file, one JSON message a line; - is standard output
    #[arg(long, value_name = "FILE|-")]
    pub detections: Option<PathBuf>,
    /// Append events to this file, one JSON message a line: objects that come, change and go, and cameras; - is standard
    /// output
    #[arg(long, value_name = "FILE|-")]
    pub events: Option<PathBuf>,
    /// Admit only peers with a ticket
    #[arg(long)]
    pub private: bool,
    /// Directory of what outlives a restart: certificate, tickets, viewers; without this flag ~/.local/state/sightline
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Make a new certificate and two new tickets, so that all earlier tickets are void; needs --private
    #[arg(long)]
    pub rotate: bool,
    /// Host in the tickets, if peers reach this machine by another address than its own; needs --private
    #[arg(long, value_name = "HOST[:PORT]", value_parser = advertise)]
    pub advertise: Option<Advertise>,
    /// Most UDP viewers; 0 closes the UDP transport to viewers
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(0..=10_000))]
    pub udp_viewers: u16,
    /// Most that the relay sends to all UDP viewers together, in Mbit/s
    #[arg(long, value_name = "MBITS", default_value_t = 20.0, value_parser = megabits)]
    pub udp_egress: f64,
    /// TCP address of the HTTP server, or off; without this flag 127.0.0.1:8080, if that is free
    #[arg(long, value_name = "ADDR|off")]
    pub http: Option<Listen>,
    /// Origins (SCHEME://NAME) whose pages may read the HTTP server's answers, and whose names are the relay's own behind
    /// a proxy; * is any
    #[arg(long, value_name = "ORIGINS", value_delimiter = ',')]
    pub http_origin: Vec<Origin>,
    /// Reverse proxies of the HTTP server, as addresses or networks: a client behind one is known by the address that the
    /// proxy gives in X-Forwarded-For or Forwarded; without this flag the headers are ignored
    #[arg(long, value_name = "CIDRS", value_delimiter = ',')]
    pub http_trust_proxy: Vec<ProxyNetwork>,
    /// Address at which others reach the HTTP server, with its scheme: for the pictures in webhooks and commands, and for links
    #[arg(long, value_name = "URL")]
    pub http_url: Option<HttpUrl>,
    /// MQTT broker for events, pictures, state and Home Assistant's discovery, as in mqtt://USER@HOST:1883/PREFIX;
    /// mqtts:// is with TLS
    #[arg(long, value_name = "URL")]
    pub mqtt: Option<BrokerUrl>,
    /// File with the password of the broker's user; without this flag systemd's credential mqtt-password, if there is one
    #[arg(long, value_name = "FILE")]
    pub mqtt_password_file: Option<PathBuf>,
    /// Post each event as JSON to this URL
    #[arg(long, value_name = "URL", hide_default_value = true)]
    pub webhook: Option<WebhookUrl>,
    /// File with the secret that signs what is posted, in X-Sightline-Signature; without this flag systemd's credential
    /// webhook-secret, if there is one
    #[arg(long, value_name = "FILE")]
    pub webhook_secret_file: Option<PathBuf>,
    /// Template of the body, as a service wants it; config/templates has those of ntfy and Discord
    #[arg(long, value_name = "FILE")]
    pub webhook_template: Option<PathBuf>,
    /// Run this command for each event, with its fields in SIGHTLINE_EVENT_.. and its JSON on standard input
    #[arg(long, value_name = "COMMAND")]
    pub on_event: Option<HookCommand>,
    /// Flags of all programs.
    #[command(flatten)]
    pub common: Common,
    /// Tables of the configuration file, which no flag holds.
    #[arg(skip)]
    pub tables: Arc<CameraTables>,
}

/// `--model`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelChoice {
    /// The embedded model.
    Demo,
    /// No model: the relay only forwards.
    None,
    /// An ONNX export of the YOLO family.
    File(PathBuf),
}

impl std::str::FromStr for ModelChoice {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "" => Err("demo, none, or a file".to_owned()),
            "demo" => Ok(Self::Demo),
            "none" => Ok(Self::None),
            file => Ok(Self::File(file.into())),
        }
    }
}

/// `--net-size`; `None` is auto.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetSize(pub Option<Size>);

impl std::str::FromStr for NetSize {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if s == "auto" {
            return Ok(Self(None));
        }
        s.parse().map(|size| Self(Some(size)))
    }
}

/// `--advertise`: a host, and its port if peers reach another than that of `--listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertise {
    /// The host, at [`RELAY_PORT`] if the flag has no port.
    pub host: Host,
    /// Whether the flag has a port.
    pub port_given: bool,
}

/// `--provider`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProviderChoice {
    /// The best one that works, but for TensorRT, which takes minutes to start.
    Auto,
    /// The processor.
    Cpu,
    /// NVIDIA's CUDA.
    Cuda,
    /// NVIDIA's TensorRT.
    Tensorrt,
    /// Intel's OpenVINO.
    Openvino,
}

impl ProviderChoice {
    /// Returns the provider that the flag names; `None` for auto.
    pub fn explicit(self) -> Option<provider::Provider> {
        match self {
            Self::Auto => None,
            Self::Cpu => Some(provider::Provider::Cpu),
            Self::Cuda => Some(provider::Provider::Cuda),
            Self::Tensorrt => Some(provider::Provider::Tensorrt),
            Self::Openvino => Some(provider::Provider::Openvino),
        }
    }
}

impl Args {
    /// Returns what may change while the relay runs.
    pub fn live_settings(&self) -> LiveSettings {
        LiveSettings {
            conf: self.conf,
            iou: self.iou,
            classes: self.classes.clone(),
            track_start: self.track_start,
            event_output: self.has_event_output(),
            tables: self.tables.clone(),
        }
    }

    /// Returns whether a flag names an output of events.
    pub fn has_event_output(&self) -> bool {
        let receivers = self.mqtt.is_some() || self.webhook.is_some() || self.on_event.is_some();
        receivers || self.events.is_some()
    }

    /// Parses the process's command line, and the tables of its configuration file. On a usage error, `--help`,
    /// `--version`, `completions` or `man` it prints and ends the process.
    pub fn of_process() -> Self {
        config::parse_by(Self::try_of_process)
    }

    /// Parses the same again, while the program runs.
    ///
    /// # Errors
    /// clap's error if a value or a table is wrong.
    pub fn try_of_process() -> Result<Self, clap::Error> {
        let mut args: Self = config::try_parse(Self::check)?;
        let wrong = |why| config::command::<Self>().error(ErrorKind::ValueValidation, why);
        if let Some(file) = config::file::<Self>() {
            let tables = tables_of(&file).map_err(wrong)?;
            args.events = args.events.or_else(|| tables.events_file().cloned());
            args.tables = Arc::new(tables);
        }
        Ok(args)
    }

    /// Returns the keys of the configuration file that differ from `other` and that a restart alone changes.
    pub fn restart_keys(&self, other: &Self) -> Vec<String> {
        /// Names the fields that differ. Every field is listed, live ones behind the semicolon, so that none is forgotten.
        macro_rules! differing {
            ($($field:ident),*; $($live:ident),*) => {{
                let Self { $($field,)* $($live: _,)* } = self;
                let differing = [$((stringify!($field), *$field != other.$field)),*];
                differing.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field.replace('_', "-")).collect()
            }};
        }
        let mut keys: Vec<String> = differing!(
            listen, every, model, model_cpu, net_size, provider, threads, onnxruntime, overlay, detections, private, state,
            rotate, advertise, events, udp_viewers, udp_egress, http, http_origin, http_trust_proxy, http_url,
            mqtt, mqtt_password_file, webhook, webhook_secret_file, webhook_template, on_event;
            conf, iou, classes, track_start, common, tables
        );
        if self.common.log_format != other.common.log_format {
            keys.push("log-format".to_owned());
        }
        if self.common.report != other.common.report {
            keys.push("report".to_owned());
        }
        keys
    }

    /// Checks that the flags go together.
    ///
    /// # Errors
    /// If they do not, with a sentence for the user.
    pub fn check(&self) -> Result<(), String> {
        if self.rotate && !self.private {
            return Err("--rotate makes new tickets, so it needs --private".to_owned());
        }
        plan::check(self)
    }
}

fn tables_of(file: &Path) -> Result<CameraTables, String> {
    let origin = file.display();
    let text = fs::read_to_string(file)
        .map_err(|err| format!("{origin}: the configuration file cannot be read: {err}"))?;
    CameraTables::parse(&text).map_err(|why| format!("{origin}: {why}"))
}

fn listen(s: &str) -> Result<SocketAddr, String> {
    let alone = |ip: IpAddr| SocketAddr::new(ip, RELAY_PORT);
    s.parse().or_else(|_| s.parse().map(alone)).map_err(|_| {
        "an IP address of this machine and a port, as in 0.0.0.0:8081 or [::]:8081".to_owned()
    })
}

fn advertise(s: &str) -> Result<Advertise, String> {
    let host: Host = s.parse().map_err(|why: BadHost| why.to_string())?;
    Ok(Advertise {
        host,
        port_given: Host::names_port(s),
    })
}

fn fraction(s: &str) -> Result<f32, String> {
    let value = s.parse().ok().filter(|x| (0.0..=1.0).contains(x));
    value.ok_or_else(|| "a number from 0 to 1".to_owned())
}

fn share(s: &str) -> Result<f64, String> {
    let value = s.parse().ok().filter(|x| *x > 0.0 && *x <= 1.0);
    value.ok_or_else(|| "a share above 0, up to 1".to_owned())
}

fn megabits(s: &str) -> Result<f64, String> {
    let value = s.parse().ok().filter(|x| (0.0..=1e6).contains(x));
    value.ok_or_else(|| "a number of Mbit/s from 0 to 1000000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(flags: &[&str]) -> Args {
        Args::parse_from(["relay-server"].iter().chain(flags))
    }

    #[test]
    fn the_keys_that_need_a_restart_are_named() {
        let before = args(&[]);
        let keys = |flags: &[&str]| args(flags).restart_keys(&before);
        assert_eq!(
            keys(&["--conf", "0.5", "--classes", "cat", "--iou", "0.1"]),
            [""; 0]
        );
        let changed = [
            "--every",
            "2",
            "--udp-viewers",
            "9",
            "--track-start",
            "0.9",
            "--log-format",
            "json",
        ];
        assert_eq!(keys(&changed), ["every", "udp-viewers", "log-format"]);
    }
}
