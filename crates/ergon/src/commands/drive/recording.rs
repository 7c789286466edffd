//! `run.mcap`: every control step in Foxglove's own schemas, so that Foxglove and Rerun show it without a plug-in.
//!
//! Channels: `/camera/front` (CompressedImage), `/tf` (FrameTransform), `/scene` (SceneUpdate: road users and road),
//! `/plan` and `/plan/checked` (PosesInFrame: proposed and issued), `/words` (Log: the instruction, then what the driver says), and with schemas of
//! our own, all of top-level numbers so that they plot: `/gate`, `/cmd`, `/timing`.
//!
//! Schemas: foxglove.dev/docs/sdk/schemas; container: mcap.dev/spec. Times are simulation times from 0, each episode after
//! the one before; measured durations appear in `/timing` only, so two runs differ nowhere else.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ergon_types::{ActorKind, ActorState, Trajectory, TrajectoryPoint};
use serde_json::{Value, json};

use super::record::{Map, Tick};
use super::run::Driven;

/// Pause between two episodes on the time line.
const PAUSE_S: f64 = 1.0;

type Writer = mcap::Writer<BufWriter<File>>;
/// Numbers of the channels by their topics.
type Channels = BTreeMap<&'static str, u16>;

/// The file being written.
pub(super) struct Recording {
    path: PathBuf,
    writer: Writer,
    channels: Channels,
    /// Where the running episode starts on the time line.
    start_s: f64,
    /// Where the last one ended.
    end_s: f64,
    sequence: u32,
}

/// A channel: its topic, the name of its schema, and the schema.
fn channels() -> [(&'static str, &'static str, Value); 9] {
    let time =
        json!({"type": "object", "properties": {"sec": {"type": "integer"}, "nsec": {"type": "integer"}}});
    let vector = json!({"type": "object", "properties": {
        "x": {"type": "number"}, "y": {"type": "number"}, "z": {"type": "number"}}});
    let quaternion = json!({"type": "object", "properties": {
        "x": {"type": "number"}, "y": {"type": "number"}, "z": {"type": "number"}, "w": {"type": "number"}}});
    let pose = json!({"type": "object", "properties": {"position": vector, "orientation": quaternion}});
    let object = |properties: Value| json!({"type": "object", "properties": properties});
    let image = object(json!({"timestamp": time, "frame_id": {"type": "string"},
        "data": {"type": "string", "contentEncoding": "base64"}, "format": {"type": "string"}}));
    let transform = object(json!({"timestamp": time, "parent_frame_id": {"type": "string"},
        "child_frame_id": {"type": "string"}, "translation": vector, "rotation": quaternion}));
    let poses = object(json!({"timestamp": time, "frame_id": {"type": "string"},
        "poses": {"type": "array", "items": pose}}));
    let log = object(json!({"timestamp": time, "level": {"type": "integer"}, "message": {"type": "string"},
        "name": {"type": "string"}, "file": {"type": "string"}, "line": {"type": "integer"}}));
    let scene = object(json!({
        "deletions": {"type": "array", "items": object(json!({"timestamp": time, "type": {"type": "integer"},
            "id": {"type": "string"}}))},
        "entities": {"type": "array", "items": {"type": "object"}}}));
    let numbers = |names: &[&str]| {
        let fields = names.iter().map(|name| ((*name).to_owned(), json!({"type": "number"})));
        object(Value::Object(fields.collect()))
    };
    let mut gate = numbers(&["value", "limit", "margin", "plans_checked"]);
    for name in ["source", "rule"] {
        gate["properties"][name] = json!({"type": "string"});
    }
    [
        ("/camera/front", "foxglove.CompressedImage", image),
        ("/tf", "foxglove.FrameTransform", transform),
        ("/scene", "foxglove.SceneUpdate", scene),
        ("/plan", "foxglove.PosesInFrame", poses.clone()),
        ("/plan/checked", "foxglove.PosesInFrame", poses),
        ("/words", "foxglove.Log", log),
        ("/gate", "ergon.Gate", gate),
        (
            "/cmd",
            "ergon.Command",
            numbers(&["acceleration_mps2", "steering_rate_radps", "speed_mps", "steering_angle_rad"]),
        ),
        (
            "/timing",
            "ergon.Timing",
            numbers(&["camera_ms", "vision_ms", "language_ms", "action_ms", "gate_ms", "total_ms"]),
        ),
    ]
}

impl Recording {
    /// A new file with its channels; an existing one is replaced.
    pub(super) fn create(path: &Path, metadata: BTreeMap<String, String>) -> anyhow::Result<Recording> {
        let file = File::create(path).with_context(|| cannot_write(path))?;
        let (writer, channels) = start(file, metadata).with_context(|| cannot_write(path))?;
        let path = path.to_path_buf();
        Ok(Recording { path, writer, channels, start_s: 0.0, end_s: 0.0, sequence: 0 })
    }

    /// A whole episode.
    pub(super) fn add(&mut self, name: &str, instruction: &str, driven: &Driven) -> anyhow::Result<()> {
        self.episode(name, instruction, &driven.map)?;
        driven.ticks.iter().try_for_each(|tick| self.tick(tick))
    }

    /// Begins an episode: its name, its words, its road.
    fn episode(&mut self, name: &str, instruction: &str, map: &Map) -> anyhow::Result<()> {
        self.start_s = if self.end_s > 0.0 { self.end_s + PAUSE_S } else { 0.0 };
        self.end_s = self.start_s;
        let text = format!("{name}: {instruction}");
        self.write("/words", 0.0, &log(self.stamp(0.0), &text, "instruction"))?;
        let lines: Vec<Value> = map.lanes.iter().map(|lane| line(lane)).collect();
        let road = json!({"timestamp": self.stamp(0.0), "frame_id": "world", "id": "road",
            "lifetime": {"sec": 0, "nsec": 0}, "frame_locked": false, "metadata": [], "arrows": [], "cubes": [],
            "spheres": [], "cylinders": [], "lines": lines, "triangles": [], "texts": [], "models": []});
        // Type 1 deletes all entities of the episode before.
        let deletions = json!([{"timestamp": self.stamp(0.0), "type": 1, "id": ""}]);
        self.write("/scene", 0.0, &json!({"deletions": deletions, "entities": [road]}))
    }

    /// One control step of the running episode.
    fn tick(&mut self, tick: &Tick) -> anyhow::Result<()> {
        let t = tick.ego.t_s;
        let stamp = self.stamp(t);
        let ego = &tick.ego;
        if let Some(picture) = &tick.picture {
            let data = base64(picture);
            let image = json!({"timestamp": stamp, "frame_id": "front", "data": data, "format": "jpeg"});
            self.write("/camera/front", t, &image)?;
        }
        let transform = json!({"timestamp": stamp, "parent_frame_id": "world", "child_frame_id": "ego",
            "translation": {"x": ego.x_m, "y": ego.y_m, "z": 0.0}, "rotation": rotation(ego.heading_rad)});
        self.write("/tf", t, &transform)?;
        let actors: Vec<Value> = tick.actors.iter().map(|actor| cube(actor, &stamp)).collect();
        self.write("/scene", t, &json!({"deletions": [], "entities": actors}))?;
        self.write("/plan", t, &poses(&tick.proposed, &stamp))?;
        self.write("/plan/checked", t, &poses(&tick.issued, &stamp))?;
        self.write("/words", t, &log(stamp, &tick.words, "driver"))?;
        let worst = tick.verdicts.first().and_then(|verdict| verdict.worst());
        let gate = json!({"source": format!("{:?}", tick.source), "plans_checked": tick.verdicts.len(),
            "rule": worst.map_or("", |finding| finding.rule.name()), "value": worst.map(|finding| finding.value),
            "limit": worst.map(|finding| finding.limit), "margin": worst.map(|finding| finding.margin())});
        self.write("/gate", t, &gate)?;
        let command = json!({"acceleration_mps2": tick.control.acceleration_mps2,
            "steering_rate_radps": tick.control.steering_rate_radps, "speed_mps": ego.speed_mps,
            "steering_angle_rad": ego.steering_angle_rad});
        self.write("/cmd", t, &command)?;
        let mut timing: serde_json::Map<String, Value> =
            tick.stage_ms.parts().iter().map(|(name, ms)| (format!("{name}_ms"), json!(ms))).collect();
        timing.insert("total_ms".to_owned(), json!(tick.stage_ms.total()));
        self.write("/timing", t, &Value::Object(timing))
    }

    /// Writes the index: without it a reader has to scan.
    pub(super) fn finish(mut self) -> anyhow::Result<()> {
        self.writer.finish().with_context(|| cannot_write(&self.path))?;
        Ok(())
    }

    fn stamp(&self, t_s: f64) -> Value {
        let nanos = self.nanos(t_s);
        json!({"sec": nanos / 1_000_000_000, "nsec": nanos % 1_000_000_000})
    }

    fn nanos(&self, t_s: f64) -> u64 {
        ((self.start_s + t_s).max(0.0) * 1e9).round() as u64
    }

    fn write(&mut self, topic: &'static str, t_s: f64, message: &Value) -> anyhow::Result<()> {
        let time = self.nanos(t_s);
        self.end_s = self.end_s.max(self.start_s + t_s);
        self.sequence += 1;
        let header = mcap::records::MessageHeader {
            channel_id: self.channels[topic],
            sequence: self.sequence,
            log_time: time,
            publish_time: time,
        };
        let written = self.writer.write_to_known_channel(&header, message.to_string().as_bytes());
        written.with_context(|| cannot_write(&self.path))
    }
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

/// Writes what comes before the first message.
fn start(file: File, metadata: BTreeMap<String, String>) -> mcap::McapResult<(Writer, Channels)> {
    let options = mcap::WriteOptions::new().compression(None).profile("").library("ergon");
    let mut writer = options.create(BufWriter::new(file))?;
    let mut ids = BTreeMap::new();
    for (topic, name, schema) in channels() {
        let schema = writer.add_schema(name, "jsonschema", schema.to_string().as_bytes())?;
        ids.insert(topic, writer.add_channel(schema, topic, "json", &BTreeMap::new())?);
    }
    writer.write_metadata(&mcap::records::Metadata { name: "run".to_owned(), metadata })?;
    Ok((writer, ids))
}

fn rotation(heading_rad: f64) -> Value {
    let (sin, cos) = (0.5 * heading_rad).sin_cos();
    json!({"x": 0.0, "y": 0.0, "z": sin, "w": cos})
}

fn log(stamp: Value, message: &str, name: &str) -> Value {
    // Level 2 is information.
    json!({"timestamp": stamp, "level": 2, "message": message, "name": name, "file": "", "line": 0})
}

fn poses(plan: &Trajectory, stamp: &Value) -> Value {
    let pose = |p: &TrajectoryPoint| {
        let position = json!({"x": p.x_m, "y": p.y_m, "z": 0.0});
        json!({"position": position, "orientation": rotation(p.heading_rad)})
    };
    json!({"timestamp": stamp, "frame_id": "world", "poses": plan.points.iter().map(pose).collect::<Vec<_>>()})
}

fn line(points: &[ergon_world::geometry::Point]) -> Value {
    let points: Vec<Value> = points.iter().map(|p| json!({"x": p.x, "y": p.y, "z": 0.0})).collect();
    // Type 1 closes the line.
    json!({"type": 1, "pose": {"position": {"x": 0.0, "y": 0.0, "z": 0.0}, "orientation": rotation(0.0)},
        "thickness": 0.1, "scale_invariant": false, "points": points, "color": {"r": 0.6, "g": 0.6, "b": 0.6, "a": 1.0},
        "colors": [], "indices": []})
}

fn cube(actor: &ActorState, stamp: &Value) -> Value {
    let (height, [r, g, b]) = match actor.kind {
        ActorKind::Truck | ActorKind::Bus => (3.2, [0.8, 0.5, 0.2]),
        ActorKind::Pedestrian => (1.8, [0.9, 0.2, 0.6]),
        ActorKind::Bicycle | ActorKind::Motorcycle => (1.7, [0.2, 0.8, 0.5]),
        ActorKind::Obstacle => (1.0, [0.5, 0.5, 0.5]),
        ActorKind::Car => (1.5, [0.2, 0.5, 0.9]),
    };
    let pose = json!({"position": {"x": actor.x_m, "y": actor.y_m, "z": 0.5 * height},
        "orientation": rotation(actor.heading_rad)});
    let cubes = json!([{"pose": pose, "size": {"x": actor.length_m, "y": actor.width_m, "z": height},
        "color": {"r": r, "g": g, "b": b, "a": 0.9}}]);
    // One control period and a half: who has left is not drawn again.
    json!({"timestamp": stamp, "frame_id": "world", "id": actor.id.to_string(),
        "lifetime": {"sec": 0, "nsec": 150_000_000}, "frame_locked": false,
        "metadata": [{"key": "kind", "value": actor.kind.to_string()}], "arrows": [], "cubes": cubes, "spheres": [],
        "cylinders": [], "lines": [], "triangles": [], "texts": [], "models": []})
}

/// Base64 with padding (RFC 4648), as JSON carries bytes.
pub(super) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
