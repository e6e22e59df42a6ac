"""The digits bag: three small CNNs, trained here, served and measured."""
