//! `message …`. What is typed is what `message.action` takes, so that each of
//! these types is its own parameters.

use clap::{Args, Subcommand};
use serde::Serialize;

#[derive(Debug, Clone, Args)]
pub struct MessageArgs {
    #[command(subcommand)]
    pub command: MessageCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum MessageCommand {
    /// Send a message
    Send(Box<SendArgs>),
    /// Send a message to several targets
    Broadcast(Box<BroadcastArgs>),
    /// Send a poll
    Poll(Box<PollArgs>),
    /// Add or remove a reaction
    React(Box<ReactArgs>),
    /// List the reactions to a message
    Reactions(Box<ListedArgs>),
    /// Read recent messages
    Read(Box<ReadArgs>),
    /// Edit a message
    Edit(Box<EditArgs>),
    /// Delete a message
    Delete(Box<OneArgs>),
    /// Pin a message
    Pin(Box<OneArgs>),
    /// Unpin a message
    Unpin(Box<OneArgs>),
    /// List pinned messages
    Pins(Box<PinsArgs>),
    /// Show what may be done in a chat
    Permissions(Box<ChatArgs>),
    /// Search messages
    Search(Box<SearchArgs>),
    /// Look after threads and topics
    #[command(subcommand)]
    Thread(ThreadCommand),
    /// Look after emojis
    #[command(subcommand)]
    Emoji(EmojiCommand),
    /// Send and upload stickers
    #[command(subcommand)]
    Sticker(StickerCommand),
    /// Look after roles
    #[command(subcommand)]
    Role(RoleCommand),
    /// Look at chats
    #[command(subcommand)]
    Channel(ChannelCommand),
    /// Look at people
    #[command(subcommand)]
    Member(MemberCommand),
    /// Look at voice channels
    #[command(subcommand)]
    Voice(VoiceCommand),
    /// Look after events
    #[command(subcommand)]
    Event(EventCommand),
    /// Silence somebody for a while
    Timeout(Box<TimeoutArgs>),
    /// Remove somebody
    Kick(Box<KickArgs>),
    /// Remove somebody for good
    Ban(Box<BanArgs>),
}

#[derive(Debug, Clone, Subcommand)]
pub enum ThreadCommand {
    /// Begin a thread
    Create(Box<ThreadCreateArgs>),
    /// List threads
    List(Box<ThreadListArgs>),
    /// Answer in a thread
    Reply(Box<ThreadReplyArgs>),
}

#[derive(Debug, Clone, Subcommand)]
pub enum EmojiCommand {
    /// List emojis
    List(Box<EmojiListArgs>),
    /// Upload an emoji
    Upload(Box<EmojiUploadArgs>),
}

#[derive(Debug, Clone, Subcommand)]
pub enum StickerCommand {
    /// Send stickers
    Send(Box<StickerArgs>),
    /// Upload a sticker
    Upload(Box<StickerUploadArgs>),
}

#[derive(Debug, Clone, Subcommand)]
pub enum RoleCommand {
    /// List roles
    Info(Box<GuildArgs>),
    /// Give a role
    Add(Box<RoleArgs>),
    /// Take a role
    Remove(Box<RoleArgs>),
}

#[derive(Debug, Clone, Subcommand)]
pub enum ChannelCommand {
    /// Show what a chat is
    Info(Box<ChatArgs>),
    /// List chats
    List(Box<GuildArgs>),
}

#[derive(Debug, Clone, Subcommand)]
pub enum MemberCommand {
    /// Show who somebody is
    Info(Box<MemberArgs>),
}

#[derive(Debug, Clone, Subcommand)]
pub enum VoiceCommand {
    /// Show where somebody speaks
    Status(Box<PersonArgs>),
}

#[derive(Debug, Clone, Subcommand)]
pub enum EventCommand {
    /// List events
    List(Box<GuildArgs>),
    /// Announce an event
    Create(Box<EventArgs>),
}

/// What all take.
#[derive(Debug, Clone, Default, Args)]
pub struct Base {
    /// Channel; may be omitted when only one is configured
    #[arg(long, value_name = "channel")]
    pub channel: Option<String>,
    /// Account id
    #[arg(long, value_name = "id")]
    pub account: Option<String>,
    /// Show what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Accepted for scripts
    #[arg(long, hide = true)]
    pub verbose: bool,
}

#[derive(Debug, Clone, Default, Args)]
pub struct SendArgs {
    /// Where to: nick, chat id, room
    #[arg(short, long, value_name = "dest")]
    pub target: Option<String>,
    /// What to say
    #[arg(short, long, value_name = "text")]
    pub message: Option<String>,
    /// File or address to attach
    #[arg(long, value_name = "path-or-url")]
    pub media: Option<String>,
    /// Thread or topic id
    #[arg(long, value_name = "id")]
    pub thread_id: Option<String>,
    /// Id of the message that is answered
    #[arg(long, value_name = "id")]
    pub reply_to: Option<String>,
    /// Notify nobody, where the channel can
    #[arg(long)]
    pub silent: bool,
    #[command(flatten)]
    pub base: Base,
}

/// A command whose fields are parameters of an action.
macro_rules! action_args {
    ($($(#[$about:meta])* $name:ident {
        $($(#[$attribute:meta])* $field:ident: $kind:ty,)*
    })*) => {
        $(
            $(#[$about])*
            #[derive(Debug, Clone, Default, Args, Serialize)]
            #[serde(rename_all = "camelCase")]
            pub struct $name {
                $($(#[$attribute])* pub $field: $kind,)*
                #[command(flatten)]
                #[serde(skip)]
                pub base: Base,
            }
        )*
    };
}

action_args! {
    BroadcastArgs {
        /// Where to; may be given several times
        #[arg(long, value_name = "target", required = true, num_args = 1..)]
        targets: Vec<String>,
        /// What to say
        #[arg(long, value_name = "text")]
        message: Option<String>,
        /// File or address to attach
        #[arg(long, value_name = "url")]
        media: Option<String>,
    }
    PollArgs {
        /// Chat
        #[arg(short, long, value_name = "dest")]
        target: String,
        /// What is asked
        #[arg(long, value_name = "text")]
        poll_question: String,
        /// An answer; 2 to 12 of them
        #[arg(long, value_name = "choice")]
        poll_option: Vec<String>,
        /// Allow more than one answer
        #[arg(long)]
        poll_multi: bool,
        /// Hours until it closes
        #[arg(long, value_name = "n")]
        poll_duration_hours: Option<String>,
        /// Seconds until it closes (Telegram: 5 to 600)
        #[arg(long, value_name = "n")]
        poll_duration_seconds: Option<String>,
        /// Hide who chose what (Telegram)
        #[arg(long)]
        poll_anonymous: bool,
        /// Show who chose what (Telegram)
        #[arg(long)]
        poll_public: bool,
        /// Text beside it
        #[arg(short, long, value_name = "text")]
        message: Option<String>,
        /// Notify nobody, where the channel can
        #[arg(long)]
        silent: bool,
        /// Thread or topic id
        #[arg(long, value_name = "id")]
        thread_id: Option<String>,
    }
    ReactArgs {
        /// Chat
        #[arg(short, long, value_name = "dest")]
        target: String,
        /// Message
        #[arg(long, value_name = "id")]
        message_id: String,
        /// Reaction; without one our own are removed
        #[arg(long, value_name = "emoji")]
        emoji: Option<String>,
        /// Remove it
        #[arg(long)]
        remove: bool,
        /// Who wrote the message (`WhatsApp`)
        #[arg(long, value_name = "id", hide = true)]
        participant: Option<String>,
        /// The message is ours (`WhatsApp`)
        #[arg(long, hide = true)]
        from_me: bool,
        /// Who wrote the message (Signal)
        #[arg(long, value_name = "id", hide = true)]
        target_author: Option<String>,
        /// Who wrote the message (Signal)
        #[arg(long, value_name = "uuid", hide = true)]
        target_author_uuid: Option<String>,
    }
    ListedArgs {
        /// Chat
        #[arg(short, long, value_name = "dest")]
        target: String,
        /// Message
        #[arg(long, value_name = "id")]
        message_id: String,
        /// How many
        #[arg(long, value_name = "n")]
        limit: Option<String>,
    }
    ReadArgs {
        /// Chat
        #[arg(short, long, value_name = "dest")]
        target: String,
        /// How many
        #[arg(long, value_name = "n")]
        limit: Option<String>,
        /// Older than this place
        #[arg(long, value_name = "id")]
        before: Option<String>,
        /// Newer than this place
        #[arg(long, value_name = "id")]
        after: Option<String>,
        /// Around this message (Discord)
        #[arg(long, value_name = "id", hide = true)]
        around: Option<String>,
        /// With what was answered in threads (Discord)
        #[arg(long, hide = true)]
        include_thread: bool,
    }
    EditArgs {
        /// Chat
        #[arg(short, long, value_name = "dest")]
        target: String,
        /// Message
        #[arg(long, value_name = "id")]
        message_id: String,
        /// What it says now
        #[arg(short, long, value_name = "text")]
        message: String,
        /// Thread or topic id
        #[arg(long, value_name = "id")]
        thread_id: Option<String>,
    }
    OneArgs {
        /// Chat
        #[arg(short, long, value_name = "dest")]
        target: String,
        /// Message
        #[arg(long, value_name = "id")]
        message_id: String,
    }
    PinsArgs {
        /// Chat
        #[arg(short, long, value_name = "dest")]
        target: String,
        /// How many
        #[arg(long, value_name = "n")]
        limit: Option<String>,
    }
    ChatArgs {
        /// Chat
        #[arg(short, long, value_name = "dest")]
        target: String,
    }
    SearchArgs {
        /// Server
        #[arg(long, value_name = "id")]
        guild_id: String,
        /// What is looked for
        #[arg(long, value_name = "text")]
        query: String,
        /// Chat
        #[arg(long, value_name = "id")]
        channel_id: Option<String>,
        /// Chats
        #[arg(long, value_name = "id")]
        channel_ids: Vec<String>,
        /// Who wrote
        #[arg(long, value_name = "id")]
        author_id: Option<String>,
        /// Who wrote; may be given several times
        #[arg(long, value_name = "id")]
        author_ids: Vec<String>,
        /// How many
        #[arg(long, value_name = "n")]
        limit: Option<String>,
    }
    ThreadCreateArgs {
        /// Chat
        #[arg(short, long, value_name = "dest")]
        target: String,
        /// What it is called
        #[arg(long, value_name = "name")]
        thread_name: String,
        /// Message that it hangs on
        #[arg(long, value_name = "id")]
        message_id: Option<String>,
        /// First message
        #[arg(short, long, value_name = "text")]
        message: Option<String>,
        /// Minutes until it is put away
        #[arg(long, value_name = "n")]
        auto_archive_min: Option<String>,
    }
    ThreadListArgs {
        /// Server
        #[arg(long, value_name = "id")]
        guild_id: String,
        /// Chat
        #[arg(long, value_name = "id")]
        channel_id: Option<String>,
        /// With those that were put away
        #[arg(long)]
        include_archived: bool,
        /// Older than this one
        #[arg(long, value_name = "id")]
        before: Option<String>,
        /// How many
        #[arg(long, value_name = "n")]
        limit: Option<String>,
    }
    ThreadReplyArgs {
        /// Thread
        #[arg(short, long, value_name = "dest")]
        target: String,
        /// What to say
        #[arg(short, long, value_name = "text")]
        message: String,
        /// File or address to attach
        #[arg(long, value_name = "path-or-url")]
        media: Option<String>,
        /// Id of the message that is answered
        #[arg(long, value_name = "id")]
        reply_to: Option<String>,
    }
    EmojiListArgs {
        /// Server
        #[arg(long, value_name = "id")]
        guild_id: Option<String>,
    }
    EmojiUploadArgs {
        /// Server
        #[arg(long, value_name = "id")]
        guild_id: String,
        /// What it is called
        #[arg(long, value_name = "name")]
        emoji_name: String,
        /// Picture
        #[arg(long, value_name = "path-or-url")]
        media: String,
        /// Who may use it
        #[arg(long, value_name = "id")]
        role_ids: Vec<String>,
    }
    StickerArgs {
        /// Chat
        #[arg(short, long, value_name = "dest")]
        target: String,
        /// Sticker (Telegram: file id)
        #[arg(long, value_name = "id", required = true)]
        sticker_id: Vec<String>,
        /// Text beside it
        #[arg(short, long, value_name = "text")]
        message: Option<String>,
    }
    StickerUploadArgs {
        /// Server
        #[arg(long, value_name = "id")]
        guild_id: String,
        /// What it is called
        #[arg(long, value_name = "name")]
        sticker_name: String,
        /// What it shows
        #[arg(long, value_name = "text")]
        sticker_desc: String,
        /// Words it is found by
        #[arg(long, value_name = "tags")]
        sticker_tags: String,
        /// Picture
        #[arg(long, value_name = "path-or-url")]
        media: String,
    }
    GuildArgs {
        /// Server
        #[arg(long, value_name = "id")]
        guild_id: String,
    }
    RoleArgs {
        /// Server
        #[arg(long, value_name = "id")]
        guild_id: String,
        /// Person
        #[arg(long, value_name = "id")]
        user_id: String,
        /// Role
        #[arg(long, value_name = "id")]
        role_id: String,
    }
    MemberArgs {
        /// Person
        #[arg(long, value_name = "id")]
        user_id: String,
        /// Server
        #[arg(long, value_name = "id")]
        guild_id: Option<String>,
    }
    PersonArgs {
        /// Server
        #[arg(long, value_name = "id")]
        guild_id: String,
        /// Person
        #[arg(long, value_name = "id")]
        user_id: String,
    }
    EventArgs {
        /// Server
        #[arg(long, value_name = "id")]
        guild_id: String,
        /// What it is called
        #[arg(long, value_name = "name")]
        event_name: String,
        /// When it begins
        #[arg(long, value_name = "iso")]
        start_time: String,
        /// When it ends
        #[arg(long, value_name = "iso")]
        end_time: Option<String>,
        /// What it is about
        #[arg(long, value_name = "text")]
        desc: Option<String>,
        /// Chat
        #[arg(long, value_name = "id")]
        channel_id: Option<String>,
        /// Where
        #[arg(long, value_name = "text")]
        location: Option<String>,
        /// Kind of event
        #[arg(long, value_name = "stage|external|voice")]
        event_type: Option<String>,
    }
    TimeoutArgs {
        /// Server
        #[arg(long, value_name = "id")]
        guild_id: String,
        /// Person
        #[arg(long, value_name = "id")]
        user_id: String,
        /// For how many minutes
        #[arg(long, value_name = "n")]
        duration_min: Option<String>,
        /// Until when
        #[arg(long, value_name = "iso")]
        until: Option<String>,
        /// Why
        #[arg(long, value_name = "text")]
        reason: Option<String>,
    }
    KickArgs {
        /// Server
        #[arg(long, value_name = "id")]
        guild_id: String,
        /// Person
        #[arg(long, value_name = "id")]
        user_id: String,
        /// Why
        #[arg(long, value_name = "text")]
        reason: Option<String>,
    }
    BanArgs {
        /// Server
        #[arg(long, value_name = "id")]
        guild_id: String,
        /// Person
        #[arg(long, value_name = "id")]
        user_id: String,
        /// Why
        #[arg(long, value_name = "text")]
        reason: Option<String>,
        /// Days of messages that go, too
        #[arg(long, value_name = "n")]
        delete_days: Option<String>,
    }
}
