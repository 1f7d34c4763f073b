//! An account that signs.

use crate::{Client, ClientError, Included};
use cairn_crypto::{Authority, SecretKey};
use cairn_ledger::tables::ChainRow;
use cairn_ledger::tx::{AccountTx, Action, Tx};
use cairn_types::{AccountId, Amount, Credits};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Blocks within which a transaction signed here must be final.
pub const VALID_BLOCKS: u64 = 600;

/// A single-key account with its secret. Cheap to clone; clones take turns, so that nonces fit.
#[derive(Clone, Debug)]
pub struct Account(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    authority: Authority,
    secret: SecretKey,
    turn: Mutex<()>,
}

impl Account {
    /// The account of a key.
    pub fn new(client: Client, secret: SecretKey) -> Self {
        let authority = Authority::Single(secret.public());
        Self(Arc::new(Inner { client, authority, secret, turn: Mutex::new(()) }))
    }

    /// Its id.
    pub fn id(&self) -> AccountId {
        self.0.authority.account_id()
    }

    /// The client in use.
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    /// The secret key.
    pub fn secret(&self) -> &SecretKey {
        &self.0.secret
    }

    /// Signs an action with the nonce that is next now.
    ///
    /// # Errors
    ///
    /// Errors of transport.
    pub async fn sign(&self, action: Action) -> Result<Tx, ClientError> {
        let chain = self.0.client.chain().await?;
        let nonce = self.0.client.account(&self.id()).await?.nonce;
        Ok(self.build(&chain, nonce, action))
    }

    fn build(&self, chain: &ChainRow, nonce: u64, action: Action) -> Tx {
        let tx = AccountTx {
            network: chain.network,
            fork: chain.fork,
            authority: self.0.authority.clone(),
            nonce,
            valid_until: chain.height.plus(VALID_BLOCKS),
            tip: Amount::ZERO,
            action,
        };
        Tx::by_account(tx, &self.0.secret)
    }

    /// Signs an action, hands it in and waits until it is final. Another process may have used the nonce meanwhile:
    /// then it is signed once more.
    ///
    /// # Errors
    ///
    /// The refusal, and errors of transport.
    pub async fn run(&self, action: Action) -> Result<Included, ClientError> {
        let _turn = self.0.turn.lock().await;
        let first = self.0.client.submit_and_wait(&self.sign(action.clone()).await?).await;
        match first {
            Err(e) if e.is("tx.nonce") => self.0.client.submit_and_wait(&self.sign(action).await?).await,
            other => other,
        }
    }

    /// What an action would do now. Nothing is changed.
    ///
    /// # Errors
    ///
    /// The refusal, and errors of transport.
    pub async fn dry_run(&self, action: Action) -> Result<cairn_ledger::executor::Receipt, ClientError> {
        self.0.client.dry_run(&self.sign(action).await?).await
    }

    /// Moves CRN.
    ///
    /// # Errors
    ///
    /// As [`Account::run`].
    pub async fn transfer(&self, to: AccountId, amount: Amount) -> Result<Included, ClientError> {
        self.run(Action::Transfer { to, amount }).await
    }

    /// Buys credits for an account, for at most `max_cost`.
    ///
    /// # Errors
    ///
    /// As [`Account::run`].
    pub async fn buy_credits(
        &self,
        account: AccountId,
        credits: Credits,
        max_cost: Amount,
    ) -> Result<Included, ClientError> {
        self.run(Action::BuyCredits { account, credits, max_cost }).await
    }
}
