//! The checked-in OpenAPI document.

use std::path::Path;

#[test]
fn the_checked_in_openapi_document_is_in_step() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/openapi.json");
    let made = cairn_api::openapi();
    if std::env::var_os("CAIRN_UPDATE").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &made).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == made,
        "docs/reference/openapi.json is out of step; run CAIRN_UPDATE=1 cargo test -p cairn-api"
    );
}

#[test]
fn every_operation_documents_its_answers() {
    let document: serde_json::Value = serde_json::from_str(&cairn_api::openapi()).unwrap();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    for path in ["/v1/status", "/v1/transactions", "/v1/events", "/v1/state/{key}", "/metrics"] {
        assert!(document["paths"][path].is_object(), "{path} is missing");
    }
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(operation["responses"].as_object().is_some_and(|r| !r.is_empty()), "{method} {path}");
        }
    }
}
