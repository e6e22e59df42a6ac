import pytest

from exeunt.errors import ConfigError
from exeunt.settings import Settings


def test_settings_survive_a_round_trip():
    settings = Settings(tuner="static", service_classes={"gold": 0.001}, max_loss=0.02)
    assert Settings.from_mapping(settings.to_mapping(), "here") == settings


def test_an_unknown_key_gets_a_hint():
    with pytest.raises(ConfigError, match=r"bag\.toml: unknown key 'max_los'; did you mean 'max_loss'"):
        Settings.from_mapping({"max_los": 0.01}, "bag.toml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_loss", 1.5),
        ("max_loss", "much"),
        ("max_loss", True),
        ("tuner", "budgett"),
        ("lossless", 1),
        ("max_tickets", 0),
        ("max_tickets", 2.5),
        ("deadline_ms", -1),
        ("service_classes", {"gold": 2}),
        ("service_classes", {"": 0.1}),
        ("tuner_options", 3),
    ],
)
def test_a_value_that_is_not_allowed_names_place_and_key(key, value):
    with pytest.raises(ConfigError, match=rf"bag.toml: .*{key}"):
        Settings.from_mapping({key: value}, "bag.toml")


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("max_loss", "1%", "a number"),
        ("max_tickets", 2.5, "a whole number"),
        ("lossless", "yes", "true or false"),
        ("state_dir", 3, "a text"),
    ],
)
def test_a_wrong_type_is_answered_in_plain_words(key, value, allowed):
    with pytest.raises(ConfigError, match=rf"{key} = {value!r}; allowed: {allowed}$"):
        Settings.from_mapping({key: value}, "bag.toml")


def test_parameters_of_a_config_override_as_text():
    settings = Settings().overridden({"max_loss": "0.05", "state_dir": "/state", "lossless": "false"}, "config.pbtxt")
    assert (settings.max_loss, settings.state_dir, settings.lossless) == (0.05, "/state", False)


def test_class_0_is_for_requests_that_name_none():
    settings = Settings(max_loss=0.01, service_classes={"gold": 0.001, "bulk": 0.05})
    assert settings.classes_of_service == ("", "gold", "bulk") and settings.class_losses == (0.01, 0.001, 0.05)


@pytest.mark.parametrize("url", ["", "redis://store", "redis://store:6380/2", "rediss://me@store:6380"])
def test_a_store_is_named_by_its_address(url):
    assert Settings.from_mapping({"state_url": url}, "bag.toml").state_url == url


@pytest.mark.parametrize(
    "url", ["store", "http://store", "redis://", "redis://store:port", "redis://store/x", "redis://store?a=b"]
)
def test_what_is_no_address_of_a_store_is_refused(url):
    with pytest.raises(ConfigError, match=r"bag\.toml: state_url = .*allowed: redis://"):
        Settings.from_mapping({"state_url": url}, "bag.toml")


@pytest.mark.parametrize("url", ["redis://me:s3cret@store", "rediss://:s3cret@store", "redis://me:s3cret@store:port"])
def test_a_password_in_an_address_is_refused_and_not_shown(url):
    with pytest.raises(ConfigError) as caught:
        Settings.from_mapping({"state_url": url}, "bag.toml")
    assert "s3cret" not in str(caught.value)
