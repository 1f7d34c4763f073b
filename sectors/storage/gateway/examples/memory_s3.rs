//! An S3 endpoint over operators in memory, for trying clients: prints one JSON object as the devnet does, then
//! serves until interrupted. Arguments are ignored, so that the end-to-end suite can start it.

use cairn_storage_gateway::memory::World;
use cairn_storage_gateway::server::{ServerConfig, serve};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let world = World::new(16);
    let mut config = World::config();
    config.terms.chunks_per_slot = 1 << 20;
    config.upkeep = Some(std::time::Duration::from_secs(2));
    let gateway = world.start(&[7; 32], config).await?.gateway;
    let (access_key, secret_key) = ("AKIAMEMORY0000000000", "memory-secret-key-of-no-worth");
    gateway.put_access_key(access_key, secret_key).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let server = serve(listener, gateway, ServerConfig::default())?;
    println!(
        r#"{{"api":"","s3":{{"endpoint":"http://{}","access_key":"{access_key}","secret_key":"{secret_key}","region":"us-east-1"}},"accounts":[],"pid":{}}}"#,
        server.address(),
        std::process::id()
    );
    tokio::signal::ctrl_c().await?;
    server.shutdown().await;
    Ok(())
}
