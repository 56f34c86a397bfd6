"""Settings: the only reader of the environment and of the configuration file.

Belongs here: what a workspace is called, where its data lie, which mode it runs in, credentials.
Keep out: defaults of models, guardrails or programs, which live beside the code they steer.
"""

import contextlib
import difflib
import hashlib
import os
import secrets
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from warehouse import front
from warehouse.credentials import CREDENTIALS, SecretSettings
from warehouse.front import GatewaySettings

CONFIG_NAME = "loopdrive.yml"
DEFAULT_CONFIG = Path(__file__).parent / "market.yml"
SOURCE_KINDS = (
    "segment",
    "order_lines",
    "crm_contacts",
    "crm_consents",
    "crm_deals",
    "products",
    "ad_spend",
    "currency_rates",
    "provider_events",
)


class ConfigError(ValueError):
    """A configuration that cannot be used; the text names key, cause and nearest key."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSettings(_Section):
    """One source of rows: what kind, where, and how its columns are called there."""

    kind: Literal[
        "segment",
        "order_lines",
        "crm_contacts",
        "crm_consents",
        "crm_deals",
        "products",
        "ad_spend",
        "currency_rates",
        "provider_events",
    ]
    name: str = ""
    path: str = Field(alias="path", default="")
    url: str | None = None
    mapping: dict[str, str] = {}
    options: dict[str, str] = {}

    def model_post_init(self, _context: Any) -> None:
        if bool(self.path) == bool(self.url):
            raise ValueError("give either `path` or `url`")
        object.__setattr__(self, "path", self.path or self.url or "")
        object.__setattr__(self, "name", self.name or self.kind)


class SimulationSettings(_Section):
    """The part of the world that is simulated: a whole market, or what real orders lack."""

    kind: Literal["market", "orders"] = "market"
    people: int = Field(default=5000, ge=50, le=1_000_000)
    days: int = Field(default=365, ge=1, le=1500)
    seed: int = 7
    orders: Path | None = None


class BrandSettings(_Section):
    """Who speaks: shown in every message."""

    name: str = "Fernway"
    sender_email: str = "hello@fernway.example"
    sms_sender: str = "+441632960000"
    postal_address: str = "Fernway Ltd, 1 Example Street, London N1 1AA"
    site_url: str = "https://shop.fernway.example"
    gateway_url: str = "https://go.fernway.example"
    voice: str = "Warm, plain and brief. No pressure, no capital letters for effect."


class ProviderSettings(_Section):
    """One provider: whether it may be called in live mode, and its account."""

    enabled: bool = False
    account: str = "default"
    base_url: str | None = None
    options: dict[str, str] = {}


class IdentifierTypeSettings(_Section):
    """What differs from the seed `identifier_rules` for one identifier type."""

    priority: int | None = Field(default=None, ge=1)
    is_unique: bool | None = None
    max_per_person: int | None = Field(default=None, ge=1)
    counts_in_size: bool | None = None
    is_strong: bool | None = None
    max_strong_neighbours: int | None = Field(default=None, ge=1)


class BlockedValueSettings(_Section):
    """Values that name nobody, beside the seed `blocked_values`: a regular expression."""

    identifier_type: str = "*"
    pattern: str = Field(min_length=1)


class IdentitySettings(_Section):
    """Rules of the person graph that differ from the seeds; read through raw.workspace."""

    types: dict[str, IdentifierTypeSettings] = {}
    blocked_values: tuple[BlockedValueSettings, ...] = ()
    linking_mailboxes: tuple[str, ...] = ()
    largest_person: int | None = Field(default=None, ge=1)


class _Config(_Section):
    """The YAML file, key by key."""

    workspace: str = Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")
    sources: tuple[SourceSettings, ...] = ()
    as_of: datetime | None = None
    currency: str = Field(default="GBP", pattern=r"^[A-Z]{3}$")
    time_zone: str = "Europe/London"
    country: str = Field(default="GB", pattern=r"^[A-Z]{2}$")
    programs: tuple[str, ...] = ("welcome", "abandoned_cart", "win_back")
    providers: dict[str, ProviderSettings] = {}
    mode: Literal["sandbox", "dry_run", "live"] = "sandbox"
    brand: BrandSettings = BrandSettings()
    identity: IdentitySettings = IdentitySettings()
    # Checked where they are known: `activations.programs.house`.
    guardrails: dict[str, Any] = {}
    simulation: SimulationSettings | None = None
    daily_ad_budget_limit: Decimal | None = Field(default=None, gt=0)
    gateway: GatewaySettings | None = None

    @field_validator("as_of")
    @classmethod
    def _as_of_has_a_zone(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("needs a time zone, for example 2026-03-02T06:00:00Z")
        return value

    @field_validator("time_zone")
    @classmethod
    def _zone_is_known(cls, value: str) -> str:
        from zoneinfo import available_timezones

        if value not in available_timezones():
            near = difflib.get_close_matches(value, available_timezones(), n=1)
            raise ValueError(f"unknown time zone{f'; did you mean {near[0]}?' if near else ''}")
        return value


class Settings(_Config):
    """Everything a run may know about its workspace. Frozen; made by `load`."""

    config_path: Path
    home: Path
    database_url: SecretStr | None = None
    secrets: SecretSettings = SecretSettings()

    @property
    def workspace_home(self) -> Path:
        """Files of this workspace: landing, models, dbt target, sandbox state."""
        return self.home / self.workspace

    @property
    def landing(self) -> Path:
        """Where simulated sources write their files."""
        return self.workspace_home / "landing"

    @property
    def database(self) -> str:
        """The workspace's own database; Dagster's storage is this with `_dagster`."""
        return f"loopdrive_{self.workspace}"

    @property
    def person_key(self) -> bytes:
        """The key of person ids: made once per workspace, kept beside its data, mode 0600.

        A simulated workspace derives it from its seed, so that a rehearsal can be repeated.
        """
        if self.simulation is not None:
            seed = f"simulated {self.workspace} {self.simulation.seed}"
            return hashlib.sha256(seed.encode()).digest()
        return _workspace_key(self.workspace_home)


def load(config: Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the configuration file and the environment.

    Without `config`: LOOPDRIVE_CONFIG, then loopdrive.yml in the current directory, then the
    simulated market. LOOPDRIVE_MODE=live counts only when the file says live too. Raises
    ConfigError in one sentence.
    """
    path = _config_path(config, environ)
    parsed = _parse(path, path.read_text(encoding="utf-8"))
    home = Path(environ.get("LOOPDRIVE_HOME") or _home_of(path)).expanduser().resolve()
    mode = _mode(parsed.mode, environ.get("LOOPDRIVE_MODE"))
    credentials: dict[str, Any] = {
        name: environ[var] for name, var in CREDENTIALS.items() if environ.get(var)
    }
    for name in ("llm_base_url", "llm_model"):
        if value := environ.get(f"LOOPDRIVE_{name.upper()}"):
            credentials[name] = value
    for name, variable in front.KEY_LISTS.items():
        keys = environ.get(variable, "").split(",")
        credentials[name] = tuple(key.strip() for key in keys if key.strip())
    workspace_home = home / parsed.workspace
    folders = {
        "{landing}": str(workspace_home / "landing"),
        "{data}": str(_data_folder(path, environ)),
    }
    values = dict(parsed) | {"mode": mode}
    values["sources"] = tuple(
        source.model_copy(update={"path": _located(source.path, path, folders)})
        for source in parsed.sources
    ) + (_landed(workspace_home / "gateway") if parsed.gateway else ())
    if parsed.simulation is not None and parsed.simulation.orders is not None:
        orders = Path(_located(str(parsed.simulation.orders), path, folders))
        values["simulation"] = parsed.simulation.model_copy(update={"orders": orders})
    return Settings(
        **values,
        config_path=path,
        home=home,
        database_url=_secret(environ.get("LOOPDRIVE_DATABASE_URL")),
        secrets=SecretSettings.model_validate(credentials),
    )


def adopt(settings: Settings) -> None:
    """Make this the configuration of this process and its children: `load()` returns it."""
    os.environ["LOOPDRIVE_CONFIG"] = str(settings.config_path)
    os.environ["LOOPDRIVE_HOME"] = str(settings.home)


def _landed(folder: Path) -> tuple[SourceSettings, ...]:
    """What the gateway lands. Each line was answered on its own: none waits for the others."""
    return tuple(
        SourceSettings.model_validate(
            {
                "kind": kind,
                "name": f"gateway_{part}",
                "path": str(folder / part / "*.jsonl"),
                "options": {"hold": "never", "files": "final"},
            }
        )
        for kind, part in front.LANDED.items()
    )


def _secret(value: str | None) -> SecretStr | None:
    return SecretStr(value) if value else None


def _config_path(config: Path | None, environ: Mapping[str, str]) -> Path:
    named = config or (Path(environ["LOOPDRIVE_CONFIG"]) if "LOOPDRIVE_CONFIG" in environ else None)
    if named is not None:
        if not named.is_file():
            raise ConfigError(f"{named}: no such configuration file")
        return named.resolve()
    local = Path.cwd() / CONFIG_NAME
    return local if local.is_file() else DEFAULT_CONFIG


def _home_of(path: Path) -> Path:
    return (Path.cwd() if path == DEFAULT_CONFIG else path.parent) / ".loopdrive"


def _parse(path: Path, text: str) -> _Config:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, such as `workspace: my_shop`")
    try:
        return _Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{path}: {_sentence(error)}") from error


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        if first["type"] == "literal_error":
            near = difflib.get_close_matches(str(first["input"]), SOURCE_KINDS, n=1)
            return f"`{where}`: {first['msg']}" + (f"; did you mean {near[0]}?" if near else "")
        return f"`{where}`: {first['msg']}"
    known = sorted(_known_keys(tuple(first["loc"])))
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.0)
    return f"unknown key `{where}`; the nearest valid key is `{near[0]}`"


def _known_keys(location: tuple[int | str, ...]) -> set[str]:
    sections: dict[str, type[BaseModel]] = {
        "sources": SourceSettings,
        "brand": BrandSettings,
        "providers": ProviderSettings,
        "simulation": SimulationSettings,
        "gateway": GatewaySettings,
        "identity": IdentitySettings,
    }
    section = sections.get(str(location[0])) if len(location) > 1 else _Config
    return set((section or _Config).model_fields)


def _mode(configured: str, environment: str | None) -> str:
    if environment not in (None, "", "sandbox", "dry_run", "live"):
        raise ConfigError(f"LOOPDRIVE_MODE={environment}: expected sandbox, dry_run or live")
    if environment == "live" and configured != "live":
        raise ConfigError("LOOPDRIVE_MODE=live, but the configuration file does not say mode: live")
    if configured == "live":
        return "live" if environment == "live" else environment or "dry_run"
    return environment or configured


def _located(path: str, config: Path, folders: Mapping[str, str]) -> str:
    for placeholder, folder in folders.items():
        path = path.replace(placeholder, folder)
    return path if "://" in path else str(config.parent / Path(path).expanduser())


def _data_folder(config: Path, environ: Mapping[str, str]) -> Path:
    # Public data sets: named by the environment, beside the configuration, or, while the project
    # is developed, in shared/data beside the repository.
    beside = config.parent / "data"
    if named := environ.get("LOOPDRIVE_SHARED_DATA"):
        return Path(named)
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    return beside if beside.is_dir() or not shared.is_dir() else shared


def _workspace_key(workspace_home: Path) -> bytes:
    path = workspace_home / "person_key"
    if not path.exists():
        workspace_home.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        with contextlib.suppress(FileExistsError):  # another process was first; its key is the key
            os.link(draft, path)
        draft.unlink()
    return bytes.fromhex(path.read_text().strip())
