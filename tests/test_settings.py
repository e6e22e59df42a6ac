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
