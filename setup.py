"""Packaging: everything is read from `settings.ini`, the one place where the project is described."""
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

settings = ConfigParser()
settings.read("settings.ini", encoding="utf-8")
about = settings["DEFAULT"]
EXTRAS = ("dev", "capture", "export", "live", "docs", "check")

setup(
    name=about["lib_name"],
    version=about["version"],
    description=about["description"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=about["author"],
    license="Apache-2.0",
    url=about["git_url"],
    keywords=about["keywords"].split(),
    python_requires=f">={about['min_python']}",
    packages=find_packages(include=["asl_nb", "asl_nb.*"]),
    package_data={"asl_nb": ["assets/*"]},
    install_requires=about["requirements"].split(),
    extras_require={extra: about[f"{extra}_requirements"].split() for extra in EXTRAS},
    entry_points={"console_scripts": about["console_scripts"].split("\n"),
                  "nbdev": ["asl_nb=asl_nb._modidx:d"]},
    zip_safe=False,
)
