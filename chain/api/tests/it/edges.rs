//! What a stranger sends, and what comes back: always JSON with code, cause and remedy.

use crate::net::Net;
use cairn_api::{DevnetCommand, DevnetControl};
use cairn_types::Refusal;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

async fn call(
    net: &Net,
    method: Method,
    path: &str,
    kind: Option<&str>,
    body: Vec<u8>,
) -> (StatusCode, Value) {
    cairn_client::use_ring();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.request(method, format!("{}{path}", net.url)).body(body);
    if let Some(kind) = kind {
        request = request.header("content-type", kind);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    assert_eq!(answer.headers()["content-type"], "application/json", "{path}: {status}");
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}: {text:.200}")))
}

fn refusal(status: StatusCode, body: &Value, expected: u16, code: &str) {
    assert_eq!((status.as_u16(), body["code"].as_str()), (expected, Some(code)), "{body}");
    for field in ["cause", "remedy"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_oversized_bodies_are_refused() {
    let net = Net::start(None).await;
    let bodies: [Vec<u8>; 8] = [
        vec![],
        b"not a transaction".to_vec(),
        vec![0; 64],
        vec![0xff; 4096],
        b"{}".to_vec(),
        br#"{"tx": 1}"#.to_vec(),
        vec![b'['; 2000],
        br#"{"tx": "zz"}"#.to_vec(),
    ];
    for body in bodies {
        for kind in ["application/octet-stream", "application/json"] {
            let (status, answer) =
                call(&net, Method::POST, "/v1/transactions", Some(kind), body.clone()).await;
            let code = if kind.ends_with("json") { "api.argument" } else { "tx.malformed" };
            refusal(status, &answer, 400, code);
        }
    }
    let (status, answer) = call(&net, Method::POST, "/v1/transactions", None, vec![b'a'; 4 << 20]).await;
    refusal(status, &answer, 413, "api.size");
    let (status, answer) = call(&net, Method::POST, "/v1/transactions", Some("text/html"), vec![1]).await;
    refusal(status, &answer, 415, "api.type");
    let (status, answer) = call(&net, Method::POST, "/v1/bundles", None, vec![b'a'; 3000]).await;
    assert!(status.is_client_error(), "{answer}");
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_methods_and_arguments_are_refused() {
    let net = Net::start(None).await;
    let id = "00".repeat(32);
    let cases = [
        (Method::GET, "/v1/no-such-thing".to_owned(), 404, "api.path"),
        (Method::GET, "/".to_owned(), 404, "api.path"),
        (Method::DELETE, "/v1/status".to_owned(), 405, "api.method"),
        (Method::GET, "/v1/transactions".to_owned(), 405, "api.method"),
        (Method::GET, "/v1/state/xyz".to_owned(), 400, "api.argument"),
        (Method::GET, "/v1/blocks/-1".to_owned(), 400, "api.argument"),
        (Method::GET, "/v1/history?limit=many".to_owned(), 400, "api.argument"),
        (Method::GET, "/v1/history?limit=0".to_owned(), 400, "api.argument"),
        (Method::GET, "/v1/accounts/nobody".to_owned(), 400, "api.address"),
        (Method::GET, "/v1/accounts/%ff".to_owned(), 400, "api.argument"),
        (Method::GET, "/v1/bundles/x/y".to_owned(), 400, "api.argument"),
        (Method::GET, format!("/v1/packs/70000/{id}"), 400, "api.argument"),
        (Method::POST, "/v1/devnet/crash".to_owned(), 404, "api.path"),
        (Method::GET, format!("/v1/{}", "a".repeat(5000)), 400, "api.argument"),
    ];
    for (method, path, status, code) in cases {
        let (got, answer) = call(&net, method, &path, None, Vec::new()).await;
        refusal(got, &answer, status, code);
    }
    let (status, answer) = call(&net, Method::GET, "/openapi.json", None, Vec::new()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer, serde_json::from_str::<Value>(&cairn_api::openapi()).unwrap());
    net.stop().await;
}

/// Remembers what it was told; refuses to warp.
#[derive(Default)]
struct Recorder(Mutex<Vec<DevnetCommand>>);

#[async_trait::async_trait]
impl DevnetControl for Recorder {
    async fn control(&self, command: DevnetCommand) -> Result<Value, Refusal> {
        let refused = matches!(command, DevnetCommand::Warp { .. });
        self.0.lock().unwrap().push(command);
        if refused {
            Err(Refusal::new("devnet.warp", "too far", "warp less"))
        } else {
            Ok(json!({"done": true}))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn devnet_commands_reach_the_control_and_only_there() {
    let control = Arc::new(Recorder::default());
    let net = Net::start(Some(control.clone())).await;
    let done = net.client.devnet("crash", &json!({"operator": "op-3"})).await.unwrap();
    assert_eq!(done, json!({"done": true}));
    net.client.devnet("cheat", &json!({"operator": "op-1", "which": "drop"})).await.unwrap();
    assert_eq!(net.client.devnet("warp", &json!({"epochs": 2})).await.unwrap_err().code, "devnet.warp");
    net.client.devnet("dance", &json!({"with": "op-1"})).await.unwrap();
    assert_eq!(net.client.devnet("crash", &json!({"operator": 3})).await.unwrap_err().code, "api.argument");
    let expected = vec![
        DevnetCommand::Crash { operator: "op-3".into() },
        DevnetCommand::Cheat { operator: "op-1".into(), which: Some("drop".into()) },
        DevnetCommand::Warp { epochs: 2 },
        DevnetCommand::Other { name: "dance".into(), body: json!({"with": "op-1"}) },
    ];
    assert_eq!(*control.0.lock().unwrap(), expected);
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_there_is_said_to_be_unreachable() {
    let net = Net::start(None).await;
    let client = net.client.clone();
    net.stop().await;
    // Nobody listens on the discard port of the loopback.
    let nobody = cairn_client::Client::new("http://127.0.0.1:9").unwrap();
    assert!(nobody.status().await.unwrap_err().is_unreachable());
    assert!(cairn_client::Client::new("ftp://127.0.0.1").is_err_and(|e| e.is("client.url")));
    drop(client);
}
