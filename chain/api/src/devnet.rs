//! Commands that exist on a devnet only.

use crate::answer::{Answer, Failure};
use crate::body;
use crate::server::Api;
use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use cairn_types::Refusal;
use serde::Deserialize;

/// Largest command in bytes.
const LIMIT: usize = 64 << 10;

/// What a devnet is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DevnetCommand {
    /// Stops an operator as a power cut would.
    Crash {
        /// Name of the operator.
        operator: String,
    },
    /// Starts a stopped operator again.
    Restart {
        /// Name of the operator.
        operator: String,
    },
    /// Makes an operator cheat; the name of the cheat, or the devnet's choice.
    Cheat {
        /// Name of the operator.
        operator: String,
        /// Row of the sector's catalogue.
        which: Option<String>,
    },
    /// Skips epochs.
    Warp {
        /// How many.
        epochs: u64,
    },
    /// Anything else that the binary knows.
    Other {
        /// Name of the command.
        name: String,
        /// Its arguments.
        body: serde_json::Value,
    },
}

/// What the binary provides on a devnet.
#[async_trait::async_trait]
pub trait DevnetControl: Send + Sync {
    /// Does it; the answer is shown to the caller.
    async fn control(&self, command: DevnetCommand) -> Result<serde_json::Value, Refusal>;
}

#[derive(Deserialize)]
struct OnOperator {
    operator: String,
    which: Option<String>,
}

#[derive(Deserialize)]
struct Warp {
    epochs: u64,
}

/// Injects a fault, or skips epochs. On a devnet only: elsewhere the path does not exist.
#[utoipa::path(
    post, path = "/v1/devnet/{command}", tag = "devnet",
    params(("command" = String, Path, description = "`crash`, `restart`, `cheat`, `warp`, or another command of the program")),
    request_body(content = serde_json::Value, description = "`{\"operator\": name}`, for `cheat` also `which`; for `warp` `{\"epochs\": n}`"),
    responses(
        (status = 200, description = "Done", body = serde_json::Value),
        (status = "4XX", description = "Refused", body = crate::answer::RefusalBody),
    )
)]
pub(crate) async fn control(
    State(api): State<Api>,
    Path(command): Path<String>,
    body: Body,
) -> Answer<Json<serde_json::Value>> {
    let Some(devnet) = api.devnet.clone() else {
        return Err(Failure::missing("api.path", "this node is no devnet", "start one with `cairn devnet`"));
    };
    let bytes = body::read(body, LIMIT).await?;
    let command = parse(&command, &bytes)?;
    devnet.control(command).await.map(Json).map_err(Failure::refused)
}

fn parse(command: &str, bytes: &[u8]) -> Answer<DevnetCommand> {
    let malformed = |e: serde_json::Error| Failure::argument(format!("the command cannot be read: {e}"));
    let on = || serde_json::from_slice::<OnOperator>(bytes).map_err(malformed);
    match command {
        "crash" => Ok(DevnetCommand::Crash { operator: on()?.operator }),
        "restart" => Ok(DevnetCommand::Restart { operator: on()?.operator }),
        "cheat" => on().map(|o| DevnetCommand::Cheat { operator: o.operator, which: o.which }),
        "warp" => {
            let warp: Warp = serde_json::from_slice(bytes).map_err(malformed)?;
            Ok(DevnetCommand::Warp { epochs: warp.epochs })
        }
        other => Ok(DevnetCommand::Other {
            name: other.to_owned(),
            body: serde_json::from_slice(bytes).map_err(malformed)?,
        }),
    }
}
