//! `cairn relay`: carries packets between members of a network who cannot reach each other.

use anyhow::Result;
use cairn_client::Client;
use cairn_net::relay::{Certificate, RelayConfig, serve};
use serde_json::json;
use std::sync::Arc;

use crate::args::RelayArgs;
use crate::config;
use crate::notify::Manager;
use crate::output::Out;
use crate::plane::{Members, plain};

/// Runs until it is told to stop. It does not wait for a node: whom it cannot ask about it refuses for the moment.
pub async fn run(args: RelayArgs, out: Out) -> Result<()> {
    let manager = Manager::from_env();
    let link = config::join(&args.join)?;
    let members = Members::new(Client::with_urls(link.nodes)?);
    let mut settings = RelayConfig::new(args.listen, Arc::new(members));
    settings.certificate = match (args.certificate, args.key) {
        (Some(chain), Some(key)) => Some(Certificate { chain, key }),
        _ => None,
    };
    settings.discovery = args.discovery;
    let server = serve(settings).await.map_err(|e| plain("relay.listen", &e))?;
    let url = server.url();
    let object = json!({"url": url, "network": link.network.to_string(), "pid": std::process::id()});
    out.answer(&object, || format!("relay is ready\n\nURL  {url}   (name it with `cairn node --relay URL`)"));
    let alive = manager.ready();
    let ended = crate::devnet::wait_for_signal().await;
    drop(alive);
    out.say(format!("stopping; {} refused since the start", server.refused()));
    server.close().await;
    ended
}
