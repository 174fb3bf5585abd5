//! What nodes see and show, asked for on the command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::{Run, run_with};
use crate::support::client::{Device, TestClient, connect_params};
use crate::support::program::Gateway;

const COMMANDS: [&str; 11] = [
    "camera.list",
    "camera.snap",
    "camera.clip",
    "screen.record",
    "canvas.snapshot",
    "canvas.present",
    "canvas.eval",
    "canvas.a2ui.pushJSONL",
    "canvas.a2ui.reset",
    "location.get",
    "system.notify",
];

/// A gateway with a node that is let in.
struct Bed {
    gateway: Gateway,
    node: TestClient,
    id: String,
}

impl Bed {
    async fn new() -> Self {
        let gateway =
            Gateway::start(json!({"gateway": {"nodes": {"allowCommands": COMMANDS}}})).await;
        let mut params = connect_params("openclaw-ios", "node", &[]);
        params["role"] = json!("node");
        params["client"]["platform"] = json!("ios");
        params["client"]["displayName"] = json!("Phone");
        params["caps"] = json!(["camera", "canvas"]);
        params["commands"] = json!(COMMANDS);
        let device = Device::new();
        let id = device.id();
        let node = TestClient::connect(gateway.port, params, Some(&device)).await.unwrap();
        let bed = Self { gateway, node, id };
        let pending = bed.ask(&["nodes", "pending", "--json"]).await.json();
        let request = pending[0]["requestId"].as_str().unwrap().to_owned();
        assert_eq!(bed.ask(&["nodes", "approve", &request, "--json"]).await.code, 0);
        bed
    }

    async fn ask(&self, args: &[&str]) -> Run {
        let port = self.gateway.port.to_string();
        let vars = [("OPENCLAW_GATEWAY_PORT", port.as_str())];
        run_with(self.gateway.home.path(), &vars, &[&["--dev"], args].concat()).await
    }

    /// Runs `nodes …` while the node answers each question in turn; also what it was asked.
    async fn served(&mut self, args: &[&str], answers: &[Value]) -> (Run, Vec<Value>) {
        let port = self.gateway.port.to_string();
        let vars = [("OPENCLAW_GATEWAY_PORT", port.as_str())];
        let args = [&["--dev", "nodes"], args].concat();
        let asked = run_with(self.gateway.home.path(), &vars, &args);
        let node = &mut self.node;
        tokio::join!(asked, async {
            let mut seen = Vec::new();
            for answer in answers {
                let request = node.event("node.invoke.request").await["payload"].clone();
                let result = json!({"id": request["id"], "nodeId": request["nodeId"],
                    "ok": true, "payload": answer});
                node.ask("node.invoke.result", result).await;
                let params = request["paramsJSON"].as_str().map(str::to_owned);
                seen.push(json!([
                    request["command"],
                    params.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap()),
                ]));
            }
            seen
        })
    }
}

#[tokio::test]
async fn photos_are_kept_in_private_files_and_named_to_agents() {
    let mut bed = Bed::new().await;
    let photo = json!({"format": "jpg", "base64": "aGVsbG8=", "width": 4, "height": 3});
    let snap = ["camera", "snap", "--node", "phone", "--max-width", "640", "--json"];
    let (run, asked) = bed.served(&snap, &[photo.clone(), photo.clone()]).await;
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let params = json!({"facing": "front", "maxWidth": 640, "format": "jpg"});
    assert_eq!(asked[0], json!(["camera.snap", params]));
    assert_eq!(asked[1][1]["facing"], "back");
    let files = run.json()["files"].clone();
    assert_eq!((&files[1]["facing"], &files[1]["width"]), (&json!("back"), &json!(4)));
    let path = files[0]["path"].as_str().unwrap();
    assert_eq!(fs::read(path).unwrap(), b"hello");
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(
        path.contains("openclaw-camera-snap-front-") && path.rsplit('.').next() == Some("jpg"),
        "{path}"
    );
    fs::remove_file(path).unwrap();
    fs::remove_file(files[1]["path"].as_str().unwrap()).unwrap();

    let picture = json!({"format": "png", "base64": "aGVsbG8="});
    let (run, asked) =
        bed.served(&["canvas", "snapshot", "--node", "phone", "--format", "png"], &[picture]).await;
    assert_eq!(asked[0], json!(["canvas.snapshot", {"format": "png"}]));
    let path = run.out.trim_end().strip_prefix("MEDIA:").unwrap();
    fs::remove_file(path).unwrap();

    let out = bed.gateway.home.path().join("screen.mp4");
    let record = ["screen", "record", "--node", "phone", "--duration", "2s", "--no-audio", "--out"];
    let record = [&record[..], &[out.to_str().unwrap(), "--json"]].concat();
    let video = json!({"format": "mp4", "base64": "aGVsbG8=", "fps": 10, "durationMs": 2000});
    let (run, asked) = bed.served(&record, &[video]).await;
    assert_eq!(asked[0][1]["durationMs"], 2000);
    assert_eq!(asked[0][1]["includeAudio"], false);
    let file = json!({"file": {"path": out, "durationMs": 2000, "fps": 10}});
    assert_eq!((run.json(), fs::read(&out).unwrap().as_slice()), (file, b"hello".as_slice()));
}

#[tokio::test]
async fn videos_are_kept_and_pages_are_pushed() {
    let mut bed = Bed::new().await;
    let clip = ["camera", "clip", "--node", "phone", "--facing", "back", "--duration", "1500ms"];
    let video =
        json!({"format": "mp4", "base64": "aGVsbG8=", "durationMs": 1500, "hasAudio": false});
    let clip = [&clip[..], &["--no-audio", "--json"]].concat();
    let (run, asked) = bed.served(&clip, &[video]).await;
    let params = json!({"facing": "back", "durationMs": 1500, "includeAudio": false,
        "format": "mp4"});
    assert_eq!(asked[0], json!(["camera.clip", params]));
    let file = run.json()["file"].clone();
    assert_eq!((&file["facing"], &file["hasAudio"]), (&json!("back"), &json!(false)));
    let path = file["path"].as_str().unwrap();
    assert!(path.contains("openclaw-camera-clip-back-"), "{path}");
    assert_eq!(fs::read(path).unwrap(), b"hello");
    fs::remove_file(path).unwrap();
    // A node that answers with something else.
    let (run, _) = bed.served(&clip, &[json!({"format": "mp4", "base64": "aGVsbG8="})]).await;
    let err = "nodes camera clip failed: Error: invalid camera.clip payload\n";
    assert_eq!((run.code, run.err.as_str()), (1, err));

    let push = ["canvas", "a2ui", "push", "--node", "phone", "--text", "Hi"];
    let (run, asked) = bed.served(&push, &[Value::Null]).await;
    assert_eq!(run.out, "canvas a2ui push ok (v0.8, 2 messages)\n");
    assert_eq!(asked[0][0], "canvas.a2ui.pushJSONL");
    let lines = asked[0][1]["jsonl"].as_str().unwrap();
    assert!(lines.contains("\"literalString\":\"Hi\""), "{lines}");
    let file = bed.gateway.home.path().join("page.jsonl");
    fs::write(&file, lines).unwrap();
    let push = ["canvas", "a2ui", "push", "--node", "phone", "--jsonl", file.to_str().unwrap()];
    let (run, asked) = bed.served(&push, &[Value::Null]).await;
    assert_eq!((run.code, asked[0][1]["jsonl"].as_str()), (0, Some(lines)));
    let reset = ["canvas", "a2ui", "reset", "--node", "phone"];
    let (run, asked) = bed.served(&reset, &[Value::Null]).await;
    assert_eq!(
        (run.out.as_str(), &asked[0][0]),
        ("canvas a2ui reset ok\n", &json!("canvas.a2ui.reset"))
    );
}

#[tokio::test]
async fn nodes_answer_and_notify() {
    let mut bed = Bed::new().await;
    let place = json!({"lat": 52.5, "lon": 13.25, "accuracyMeters": 4.04});
    let (run, asked) =
        bed.served(&["location", "get", "--node", "phone"], std::slice::from_ref(&place)).await;
    assert_eq!(asked[0], json!(["location.get", {"timeoutMs": 10000}]));
    assert_eq!(run.out, "52.5,13.25 ±4.0m\n");
    let (run, _) = bed.served(&["camera", "list", "--node", "phone"], &[json!({})]).await;
    assert_eq!(run.out, "No cameras reported.\n");
    let notify = ["notify", "--node", "phone", "--title", " Hi "];
    let (run, asked) = bed.served(&notify, &[json!({"ok": true})]).await;
    assert_eq!(asked[0][1], json!({"title": "Hi", "body": "", "delivery": "system"}));
    assert_eq!(run.out, "notify ok\n");
    let present = ["canvas", "present", "--node", "phone", "--target", "/x", "--x", "4"];
    let (run, asked) = bed.served(&present, &[Value::Null]).await;
    assert_eq!(asked[0][1], json!({"url": "/x", "placement": {"x": 4}}));
    assert_eq!(run.out, "canvas present ok\n");
    let eval = ["canvas", "eval", "1+1", "--node", "phone"];
    let (run, asked) = bed.served(&eval, &[json!({"result": "2"})]).await;
    assert_eq!((&asked[0][1]["javaScript"], run.out.as_str()), (&json!("1+1"), "2\n"));
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_a_node_is_asked() {
    let bed = Bed::new().await;
    let push = format!(
        "nodes push failed: GatewayClientRequestError: node {} has no APNs registration \
         (connect iOS node first)\n",
        bed.id
    );
    let cases: [(&[&str], &str); 6] = [
        (
            &["camera", "snap", "--node", "phone", "--facing", "up"],
            "nodes camera snap failed: Error: invalid facing: up (expected front|back|both)\n",
        ),
        (
            &["camera", "snap", "--node", "phone", "--device-id", "1"],
            "nodes camera snap failed: Error: facing=both is not allowed when --device-id is set\n",
        ),
        (
            &["camera", "clip", "--node", "phone", "--duration", "soon"],
            "nodes camera clip failed: Error: invalid duration: soon\n",
        ),
        (&["notify", "--node", "phone"], "nodes notify failed: Error: missing --title or --body\n"),
        (
            &["canvas", "a2ui", "push", "--node", "phone"],
            "nodes canvas a2ui push failed: Error: provide exactly one of --jsonl or --text\n",
        ),
        (&["push", "--node", "phone"], &push),
    ];
    for (args, err) in cases {
        let run = bed.ask(&[&["nodes"], args].concat()).await;
        assert_eq!((run.code, run.err.as_str(), run.out.as_str()), (1, err, ""), "{args:?}");
    }
}
